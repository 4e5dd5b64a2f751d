"""Lines on their way to a log, many in one write."""

import asyncio
import logging
from collections.abc import Callable
from typing import TextIO

from typing_extensions import disjoint_base

@disjoint_base
class LineWriter:
    """Writes lines to where a handler writes: the first at the end of the loop's turn, those that follow soon together.

    A line that is written is whole, also where several processes write to one place. A reader that is behind, or a disk
    that is full, is not waited for: lines are kept up to 1 MiB, then they are lost, and it is told how many.

    Args:
        handler: whose ``stream`` takes the lines, as of each write.
        loop: the event loop that lines are added on.
        on_trouble: called with a sentence when lines cannot be written, and with another when some were lost.
    """

    def __init__(
        self,
        handler: logging.StreamHandler[TextIO],
        loop: asyncio.AbstractEventLoop,
        on_trouble: Callable[[str], object],
    ) -> None: ...
    @property
    def lost(self) -> int:
        """How many lines were lost since it was told last."""

    def flush(self) -> None:
        """Write what there is now. From any thread."""

    def go_on(self) -> None:
        """Called by the loop."""

    def tell_lost(self) -> None:
        """Say how many lines were lost."""

    def close(self) -> None:
        """Write what there is, waiting a second at most; what is added later is written at once."""
