"""gunicorn's processes, ESG's speed: ``gunicorn example:app -k esg_gunicorn.ESGWorker``."""

from __future__ import annotations

from esg_gunicorn.worker import ESGWorker

__all__ = ["ESGWorker", "__version__"]

__version__ = "0.1.0"
