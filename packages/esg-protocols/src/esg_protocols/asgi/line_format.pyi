"""What a line of the access log looks like."""

from typing_extensions import disjoint_base

@disjoint_base
class LineFormat:
    """A format, ready to be filled in.

    Args:
        text: with gunicorn's atoms, as in ``%(h)s``, or words for them.
        json: make the line a JSON object, in which ``text`` is the message.

    Raises:
        ValueError: for what it does not know, with the nearest that it does.
    """

    def __new__(cls, text: str, *, json: bool = False) -> LineFormat: ...
    @property
    def timed(self) -> bool:
        """Whether it says how long a response took."""

    @property
    def has_headers(self) -> bool:
        """Whether it says what is in the response's header fields."""
