"""What the codecs on other libraries share: the face, and those of its promises that the libraries do not make."""

from __future__ import annotations

from abc import ABC, abstractmethod

from esg_protocols.errors import LocalProtocolError, RemoteProtocolError
from esg_protocols.settings import Settings
from esg_protocols.websocket.codec import Close, Event, Ping, Pong
from esg_protocols.websocket.frames import is_close_code

MOST_PONGS = 16
"""Pings that are answered each."""


class LibraryCodec(ABC):
    """A :class:`~esg_protocols.websocket.codec.Codec` whose frames another library reads and writes.

    A subclass says what its library has read, and what the library answers, through the ``take_`` methods or by
    appending a message to ``events``; the library's failures it turns into :class:`RemoteProtocolError`.
    """

    def __init__(self, settings: Settings) -> None:
        self.max_size = settings.ws_max_size
        self.pongs: list[bytes] = []
        self.close_frame = b""
        self._reads = self._writes = True
        self._failed = False
        self._failure: RemoteProtocolError | None = None

    @property
    def pending(self) -> bool:
        return self._failure is not None

    @property
    def must_close(self) -> bool:
        return self._failed or not (self._reads or self._writes)

    # -- Reading

    def receive_data(self, data: bytes | bytearray | memoryview) -> list[Event]:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            self._fail(failure)
            raise failure
        events: list[Event] = []
        if not self._reads or not data:
            return events
        try:
            self.read(bytes(data), events)
        except RemoteProtocolError as error:
            if not events:
                self._fail(error)
                raise
            # Their answers may still go out before it. A new one: the traceback of this one leads to the codec, and
            # nobody may ever ask for it.
            self._failure = RemoteProtocolError(str(error), error.status)
        return events

    def receive_eof(self) -> list[Event]:
        if not self._reads:
            return []
        self._reads = self._writes = False
        self._failure = None
        return [Close(1006, "")]

    def data_to_send(self) -> bytes:
        data, self.pongs, self.close_frame = b"".join(self.pongs) + self.close_frame, [], b""
        return data

    def take_ping(self, payload: bytes, pong: bytes, events: list[Event]) -> None:
        """Of a flood, the latest ping stands for those before it (RFC 6455 section 5.5.3)."""
        if self._writes:
            self.pongs[MOST_PONGS - 1 :] = [pong]
        events.append(Ping(payload))

    def take_pong(self, payload: bytes, events: list[Event]) -> None:
        events.append(Pong(payload))

    def take_close(self, close: Close, answer: bytes, events: list[Event]) -> None:
        self._reads = False
        if self._writes:
            self._writes = False
            self.close_frame = answer
        events.append(close)

    def check_size(self, size: int) -> None:
        if size > self.max_size:
            raise RemoteProtocolError(f"a message of more than {self.max_size} bytes", 1009)

    def _fail(self, error: RemoteProtocolError) -> None:
        self._reads, self._failed = False, True
        if self._writes:
            self._writes = False
            self.close_frame = self.write_close(error.status, "")

    @abstractmethod
    def read(self, data: bytes, events: list[Event]) -> None: ...

    # -- Writing

    def send_text(self, text: str) -> bytes:
        if not isinstance(text, str):
            raise LocalProtocolError(f"a text message must be str, not {type(text).__name__}")
        data = _encode(text)
        self._check_open()
        return self.write_message(data, True)

    def send_bytes(self, data: bytes | bytearray | memoryview) -> bytes:
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise LocalProtocolError(f"a binary message must be bytes, not {type(data).__name__}")
        self._check_open()
        return self.write_message(bytes(data), False)

    def send_ping(self, payload: bytes = b"") -> bytes:
        self._check_control(payload)
        return self.write_ping(payload)

    def send_pong(self, payload: bytes = b"") -> bytes:
        self._check_control(payload)
        return self.write_pong(payload)

    def send_close(self, code: int = 1000, reason: str = "") -> bytes:
        if not isinstance(code, int) or not (code == 1005 or 0 < code < 5000 and is_close_code(code)):
            raise LocalProtocolError(f"the close code {code!r} must not be sent")
        if not isinstance(reason, str):
            raise LocalProtocolError(f"the reason of a close frame must be str, not {type(reason).__name__}")
        if len(_encode(reason)) > 123 or (code == 1005 and reason):
            raise LocalProtocolError("the reason of a close frame must be up to 123 bytes, and none without a code")
        self._check_open()
        self._writes = False
        return self.write_close(code, reason)

    def _check_open(self) -> None:
        if not self._writes:
            raise LocalProtocolError("nothing must be sent behind a close frame")

    def _check_control(self, payload: bytes) -> None:
        if type(payload) is not bytes or len(payload) > 125:
            raise LocalProtocolError(f"the payload of a ping or pong must be up to 125 bytes, not {payload!r}")
        self._check_open()

    @abstractmethod
    def write_message(self, data: bytes, is_text: bool) -> bytes: ...

    @abstractmethod
    def write_ping(self, payload: bytes) -> bytes: ...

    @abstractmethod
    def write_pong(self, payload: bytes) -> bytes: ...

    @abstractmethod
    def write_close(self, code: int, reason: str) -> bytes: ...


def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise LocalProtocolError(f"text that has no UTF-8: {error}") from None
