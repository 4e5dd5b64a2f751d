"""The ASGI applications that the benchmarks serve. They need nothing but Python."""
