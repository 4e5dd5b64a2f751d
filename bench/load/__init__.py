"""CPU time per request of ASGI servers under wrk, all measured in one run: ``python -m bench.load``."""
