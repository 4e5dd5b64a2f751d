"""The name under which gunicorn's documentation-shaped command lines find ESG: ``-k esg.workers.ESGWorker``.

The worker itself is another distribution, which stands above this one.
"""

from __future__ import annotations

try:
    from esg_gunicorn import ESGWorker
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"{error}; pip install esg-gunicorn brings esg.workers.ESGWorker", name=error.name
    ) from None

__all__ = ["ESGWorker"]
