"""The handler over blocking sockets, with a thread for each client.

$ python -m examples.transports.blocking
$ curl --data 'some text' http://127.0.0.1:8000/echo
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from math import inf
from time import monotonic

from esg_protocols.settings import Settings

from examples.transports.conversation import LINGER_SECONDS, Conversation, date_line
from examples.transports.handler import SETTINGS, Handler, handle

THREADS = 64


def serve(sock: socket.socket, handle: Handler, settings: Settings) -> None:
    """Talk to one client until one of the two sides has had enough, and close."""
    with sock:
        try:
            whole = talk(sock, Conversation(handle, settings, date=date_line), settings.timeout_write or None)
            if whole:
                linger(sock)
            else:
                reset(sock)
        except OSError:  # the client has gone, or does not take what is written
            reset(sock)


def talk(sock: socket.socket, conversation: Conversation, write_timeout: float | None) -> bool:
    """Read and write until the conversation is over; whether all that was begun is written."""
    while not conversation.is_over:
        data = read(sock, conversation.deadline(monotonic()))
        for part in conversation.time_out() if data is None else conversation.receive(data):
            sock.settimeout(write_timeout)
            sock.sendall(part)
    return not conversation.cut_short


def read(sock: socket.socket, until: float) -> bytes | None:
    """What comes next, empty at the end; None if nothing does in time."""
    # A timeout of 0 would not wait for nothing, but make another kind of socket of it.
    sock.settimeout(None if until == inf else max(until - monotonic(), 0.001))
    try:
        return sock.recv(65536)
    except TimeoutError:
        return None


def linger(sock: socket.socket) -> None:
    """Close our side and hear the client out.

    A socket closed while bytes lie unread is reset, and the reset may overtake the last answer (RFC 9112 section 9.6).
    """
    sock.shutdown(socket.SHUT_WR)
    until = monotonic() + LINGER_SECONDS
    while monotonic() < until and read(sock, until):
        pass


def reset(sock: socket.socket) -> None:
    """Let closing be an error to the client: what it got must not look whole."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def serve_forever(listener: socket.socket, handle: Handler, settings: Settings) -> None:
    """Accept clients as long as there are threads for them; others wait in the listener's backlog."""
    free = threading.BoundedSemaphore(THREADS)

    def serve_and_free(sock: socket.socket) -> None:
        try:
            serve(sock, handle, settings)
        finally:
            free.release()

    while True:
        free.acquire()
        threading.Thread(target=serve_and_free, args=(accept(listener),), daemon=True).start()


def accept(listener: socket.socket) -> socket.socket:
    """The next client that has not gone again before it was its turn."""
    while True:
        with contextlib.suppress(ConnectionError):
            sock, _ = listener.accept()
            # Each part of a body is to leave at once, also while the one before it is not acknowledged.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock


def main() -> None:
    with socket.create_server(("127.0.0.1", int(os.environ.get("PORT", "8000")))) as listener:
        print("running on http://{}:{}".format(*listener.getsockname()), flush=True)
        serve_forever(listener, handle, SETTINGS)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
