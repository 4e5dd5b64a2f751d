"""The codec on the ``websockets`` library, by its sans-I/O half."""

from __future__ import annotations

import codecs
from collections.abc import Iterator

from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Close as CloseFrame
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, SERVER, Protocol

from esg_protocols.errors import RemoteProtocolError
from esg_protocols.settings import Settings
from esg_protocols.websocket.codec import Close, Event
from esg_protocols.websocket.codecs.library import LibraryCodec
from esg_protocols.websocket.extensions import DeflateParameters

UTF8 = codecs.getincrementaldecoder("utf-8")


class WebSocketsCodec(LibraryCodec):
    """A :class:`~esg_protocols.websocket.codec.Codec` whose frames ``websockets`` reads and writes.

    Args:
        settings: ``ws_max_size`` and ``ws_deflate_memory_level``; the defaults if there are none.
        deflate: what the handshake agreed on; None is no compression.
    """

    def __init__(self, settings: Settings | None = None, *, deflate: DeflateParameters | None = None) -> None:
        settings = settings or Settings()
        super().__init__(settings)
        self._min_deflate = settings.ws_deflate_min_size
        self._protocol = Protocol(SERVER, state=OPEN, max_size=settings.ws_max_size)
        if deflate is not None:
            self._protocol.extensions = [_deflate_extension(deflate, settings)]
        self._extensions = self._protocol.extensions
        self._parts: list[str | bytes] = []
        self._decoder: codecs.IncrementalDecoder | None = None

    # -- Reading

    def read(self, data: bytes, events: list[Event]) -> None:
        self._protocol.receive_data(data)
        answers = iter([bytes(data) for data in self._protocol.data_to_send() if data])
        for frame in self._protocol.events_received():
            assert isinstance(frame, Frame)
            self._take_frame(frame, answers, events)
        if self._protocol.parser_exc is not None:
            raise _translate(self._protocol.parser_exc)

    def _take_frame(self, frame: Frame, answers: Iterator[bytes], events: list[Event]) -> None:
        if frame.opcode is Opcode.PING:
            self.take_ping(bytes(frame.data), next(answers), events)
        elif frame.opcode is Opcode.PONG:
            self.take_pong(bytes(frame.data), events)
        elif frame.opcode is Opcode.CLOSE:
            close = CloseFrame.parse(frame.data)
            self.take_close(Close(int(close.code), close.reason), next(answers, b""), events)
        else:
            self._take_fragment(frame, events)

    def _take_fragment(self, frame: Frame, events: list[Event]) -> None:
        data = bytes(frame.data)
        if frame.opcode is Opcode.TEXT:
            self._decoder = UTF8()
        try:
            self._parts.append(data if self._decoder is None else self._decoder.decode(data, frame.fin))
        except UnicodeDecodeError as error:
            raise RemoteProtocolError(f"a text message that is not UTF-8: {error.reason}", 1007) from None
        if frame.fin:
            parts, self._parts = self._parts, []
            events.append(parts[0] if len(parts) == 1 else _join(parts))
            self._decoder = None

    # -- Writing

    def write_message(self, data: bytes, is_text: bool) -> bytes:
        self._protocol.extensions = self._extensions if len(data) >= self._min_deflate else []
        try:
            (self._protocol.send_text if is_text else self._protocol.send_binary)(data)
        finally:
            self._protocol.extensions = self._extensions
        return self._written()

    def write_ping(self, payload: bytes) -> bytes:
        self._protocol.send_ping(payload)
        return self._written()

    def write_pong(self, payload: bytes) -> bytes:
        self._protocol.send_pong(payload)
        return self._written()

    def write_close(self, code: int, reason: str) -> bytes:
        data = b"" if code == 1005 else CloseFrame(code, reason).serialize()
        if self._protocol.state is OPEN:
            self._protocol.send_close(None if code == 1005 else code, reason)
            self._protocol.data_to_send()
        return Frame(Opcode.CLOSE, data).serialize(mask=False)

    def _written(self) -> bytes:
        return b"".join(self._protocol.data_to_send())


def _join(parts: list[str | bytes]) -> str | bytes:
    if isinstance(parts[0], str):
        return "".join(part for part in parts if isinstance(part, str))
    return b"".join(part for part in parts if isinstance(part, bytes))


def _deflate_extension(deflate: DeflateParameters, settings: Settings) -> PerMessageDeflate:
    return PerMessageDeflate(
        remote_no_context_takeover=deflate.client_no_context_takeover,
        local_no_context_takeover=deflate.server_no_context_takeover,
        remote_max_window_bits=max(9, deflate.client_max_window_bits),
        local_max_window_bits=deflate.server_max_window_bits,
        compress_settings={"memLevel": settings.ws_deflate_memory_level},
    )


def _translate(error: Exception) -> RemoteProtocolError:
    if isinstance(error, PayloadTooBig):
        return RemoteProtocolError(str(error), 1009)
    if isinstance(error, UnicodeDecodeError):
        return RemoteProtocolError(str(error), 1007)
    return RemoteProtocolError(str(error), 1002 if isinstance(error, ProtocolError) else 1011)
