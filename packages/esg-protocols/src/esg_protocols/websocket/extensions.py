"""Extension offers, and what is agreed on permessage-deflate (RFC 6455 section 9.1, RFC 7692 section 7.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from esg_protocols.settings import Settings

TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# A value in quotes must be a token once the quotes and backslashes are gone (RFC 6455 section 9.1).
PARAMETER = rf'({TOKEN})[ \t]*(?:=[ \t]*(?:({TOKEN})|"((?:[^"\\]|\\.)*)"))?'
NAME = re.compile(rf"[ \t]*({TOKEN})[ \t]*")
NEXT_PARAMETER = re.compile(rf";[ \t]*{PARAMETER}[ \t]*")
WHOLE_TOKEN = re.compile(TOKEN)
BITS = re.compile(r"[89]|1[0-5]")


class Offer(NamedTuple):
    """One extension that a client offers."""

    name: str
    """In lower case."""
    parameters: list[tuple[str, str | None]]
    """Names in lower case, and values without quotes; None where there is none."""


class DeflateParameters(NamedTuple):
    """What the two sides have agreed on for permessage-deflate."""

    server_no_context_takeover: bool = False
    """Each of our messages is compressed by itself."""
    client_no_context_takeover: bool = False
    """Each of the client's messages is compressed by itself."""
    server_max_window_bits: int = 15
    """9 to 15: our largest window as a power of two."""
    client_max_window_bits: int = 15
    """8 to 15: the client's largest window as a power of two."""
    client_is_limited: bool = False
    """Whether the client offered to be told ``client_max_window_bits``; otherwise it must not be (RFC 7692 7.1.2.2)."""

    def to_field(self) -> bytes:
        """The value of the ``Sec-WebSocket-Extensions`` field that accepts."""
        parts = ["permessage-deflate"]
        if self.server_no_context_takeover:
            parts.append("server_no_context_takeover")
        if self.client_no_context_takeover:
            parts.append("client_no_context_takeover")
        if self.server_max_window_bits < 15:
            parts.append(f"server_max_window_bits={self.server_max_window_bits}")
        if self.client_is_limited:
            parts.append(f"client_max_window_bits={self.client_max_window_bits}")
        return "; ".join(parts).encode()


# -- Reading offers --------------------------------------------------------------------------------------------------


def parse_extensions(value: str) -> list[Offer]:
    """The offers in a ``Sec-WebSocket-Extensions`` field, in the order of preference.

    Raises:
        ValueError: it breaks the grammar.
    """
    offers, at = [], 0
    while at < len(value):
        if value[at] in " \t,":  # empty elements are to be ignored (RFC 9110 section 5.6.1.2)
            at += 1
            continue
        offer, at = _parse_offer(value, at)
        offers.append(offer)
    return offers


def _parse_offer(value: str, at: int) -> tuple[Offer, int]:
    name = NAME.match(value, at)
    if name is None:
        raise ValueError(f"not an extension: {value[at:]!r}")
    offer, at = Offer(name[1].lower(), []), name.end()
    while match := NEXT_PARAMETER.match(value, at):
        offer.parameters.append(_parse_parameter(match))
        at = match.end()
    if at < len(value) and value[at] != ",":
        raise ValueError(f"not a parameter of an extension: {value[at:]!r}")
    return offer, at


def _parse_parameter(match: re.Match[str]) -> tuple[str, str | None]:
    name, token, quoted = match.groups()
    if quoted is not None:
        token = re.sub(r"\\(.)", r"\1", quoted)
        if not WHOLE_TOKEN.fullmatch(token):
            raise ValueError(f"the value of {name} must be a token within its quotes, not {quoted!r}")
    return name.lower(), token


# -- Agreeing --------------------------------------------------------------------------------------------------------


def choose_deflate(offers: Iterable[Offer], settings: Settings) -> DeflateParameters | None:
    """What is agreed on: the first offer of permessage-deflate that can be accepted (RFC 7692 section 5.1)."""
    return next(_acceptable(offers, settings), None) if settings.ws_per_message_deflate else None


def _acceptable(offers: Iterable[Offer], settings: Settings) -> Iterator[DeflateParameters]:
    for offer in offers:
        if offer.name == "permessage-deflate":
            parameters = dict(offer.parameters)
            agreed = _agree(parameters, settings) if len(parameters) == len(offer.parameters) else None
            if agreed:
                yield agreed


def _agree(parameters: dict[str, str | None], settings: Settings) -> DeflateParameters | None:
    """An unknown parameter, or a value that a known one cannot have, declines the offer (RFC 7692 section 7.1)."""
    ours = theirs = settings.ws_deflate_window_bits
    server_resets = client_resets = settings.ws_deflate_no_context_takeover
    for name, value in parameters.items():
        if name == "server_no_context_takeover" and value is None:
            server_resets = True
        elif name == "client_no_context_takeover" and value is None:
            client_resets = True
        elif name == "server_max_window_bits" and value is not None and BITS.fullmatch(value):
            ours = min(ours, int(value))
        elif name == "client_max_window_bits" and (value is None or BITS.fullmatch(value)):
            theirs = min(theirs, int(value or 15))
        else:
            return None
    if ours < 9:
        return None  # zlib has no compressor with a window of 256 bytes
    limited = "client_max_window_bits" in parameters
    return DeflateParameters(server_resets, client_resets, ours, theirs if limited else 15, limited)
