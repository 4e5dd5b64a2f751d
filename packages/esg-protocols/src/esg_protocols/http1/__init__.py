"""HTTP/1.1 without I/O: bytes in, events out; meaning in, bytes out."""

from esg_protocols.http1.connection import HTTPConnection
from esg_protocols.http1.states import READING, WRITING, ReadEvent, Reading, WriteEvent, Writing

__all__ = ["READING", "WRITING", "HTTPConnection", "ReadEvent", "Reading", "WriteEvent", "Writing"]
