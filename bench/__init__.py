"""Benchmarks of ESG, run from a checkout. Nothing here is installed with a package."""
