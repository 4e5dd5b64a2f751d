"""Listening sockets: everything that the options name, bound here and handed to the event loop later."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import stat
import sys
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from esg import systemd
from esg.config import Config, StartupError
from esg.places import Activation, Address, Descriptor, Path, Place, parse

if TYPE_CHECKING:
    import asyncio  # the parent of workers has no loop

logger = logging.getLogger("esg.error")

_REASONS = {
    errno.EADDRINUSE: "another program is using it; stop that one or choose another port",
    errno.EACCES: "this user may not bind it; choose a port above 1023",
    errno.EADDRNOTAVAIL: "this machine has no such address",
}
_REASONS_OF_FILES = {
    errno.EACCES: "this user may not make a file there",
    errno.ENOENT: "there is no such directory",
    errno.ENOTDIR: "there is no such directory",
}

# Who names an owner means that not everybody may connect. Otherwise all may, as on a TCP port; so do uvicorn, systemd.
_MODE, _MODE_WITH_OWNER = 0o666, 0o660

# uvloop lets in one connection a turn of the loop for each of them, asyncio's own loop all that wait. With four a
# connection for every request takes 0.75 to 0.8 of the time, and no less with eight: bench/load, workload connect.
_UVLOOPS_LISTENERS = 4

_REUSE_PORT: int | None = getattr(socket, "SO_REUSEPORT", None)


class _File(NamedTuple):
    """The file of a UNIX socket that this process has made."""

    path: str
    device: int
    inode: int
    made: int
    process: int


_files: weakref.WeakKeyDictionary[socket.socket, _File] = weakref.WeakKeyDictionary()


def bind_all(config: Config) -> list[socket.socket]:
    """Every socket that the options ask for. Those that are made here are bound, and do not listen yet.

    Raises:
        StartupError: naming the place and what is wrong with it; then none is left.
    """
    places = _places(config)
    opened = systemd.take_sockets() if any(isinstance(place, Activation) for place in places) else []
    bound: list[socket.socket] = []
    try:
        for place in places:
            bound += _open(place, config, opened)
    except BaseException:
        close(bound)
        raise
    return bound


def own(shared: Iterable[socket.socket]) -> list[socket.socket]:
    """Sockets for one worker: new ones where ``reuse_port`` gave the shared ones SO_REUSEPORT, copies of the others.

    The system then spreads connections over the workers. The shared ones must not listen; they keep the port meanwhile.

    Raises:
        StartupError: naming the place and what is wrong with it.
    """
    return [_beside(sock) if _is_reusable(sock) else sock.dup() for sock in shared]


async def listen(
    loop: asyncio.AbstractEventLoop,
    protocol: Callable[[], asyncio.BaseProtocol],
    sock: socket.socket,
    *,
    alone: bool,
    **options: Any,
) -> list[asyncio.AbstractServer]:
    """Accept connections on a bound socket.

    Args:
        alone: whether no other process accepts on it. Then uvloop lets in several connections a turn. Of those that
            share a socket each takes one at a time, or the first to look would have most of them.
        options: as for the loop's own ``create_server``.

    Returns:
        What is to be closed in the end.

    Raises:
        StartupError: when the system refuses.
    """
    servers: list[asyncio.AbstractServer] = []
    try:
        for number in range(_UVLOOPS_LISTENERS if alone and type(loop).__module__.startswith("uvloop") else 1):
            servers.append(await _listen_once(loop, protocol, sock.dup() if number else sock, options))
    except OSError as error:
        for server in servers:
            server.close()
        raise cannot_listen(place(sock), error) from None
    return servers


async def _listen_once(
    loop: asyncio.AbstractEventLoop, protocol: Callable[[], asyncio.BaseProtocol], sock: socket.socket, options: Any
) -> asyncio.AbstractServer:
    if not _is_unix(sock):
        return await loop.create_server(protocol, sock=sock, **options)
    if sys.version_info >= (3, 13):
        options = {**options, "cleanup_socket": False}  # close() below knows better whose file it is
    return await loop.create_unix_server(protocol, sock=sock, **options)


def close(sockets: Iterable[socket.socket]) -> None:
    """Close sockets that nothing serves any more. Their files go where this process has made them."""
    for sock in sockets:
        file = _files.pop(sock, None)
        if file is not None and file.process == os.getpid():
            _remove(file)
        sock.close()


def cannot_listen(place: str, error: OSError) -> StartupError:
    """The one line for a socket that would not bind or listen."""
    reasons = _REASONS_OF_FILES if place.startswith("unix:") else _REASONS
    reason = reasons.get(error.errno or 0) or error.strerror or str(error)
    return StartupError(f"Cannot listen on {place}: {reason}")


def display(host: str, port: int) -> str:
    """``host:port`` as a URL has it: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def place(sock: socket.socket) -> str:
    """Where a socket is bound, for messages."""
    name = sock.getsockname()
    return display(*name[:2]) if isinstance(name, tuple) else f"unix:{_readable(name)}"


def url(sock: socket.socket, scheme: str = "http") -> str:
    """How a person would ask for what is served there."""
    return place(sock) if _is_unix(sock) else f"{scheme}://{place(sock)}"


def _readable(name: str | bytes) -> str:
    """An abstract one begins with a zero byte, which the system's tools write as @."""
    return os.fsdecode(name).replace("\0", "@")


def _is_unix(sock: socket.socket) -> bool:
    return sock.family == getattr(socket, "AF_UNIX", None)


# -- From the options


def _places(config: Config) -> list[Place]:
    """What is named, each once. What names nothing is host and port, unless systemd has opened sockets for us."""
    named = [parse(text) for text in config.bind]
    if config.uds is not None:
        named.append(Path(config.uds))
    if config.fd is not None:
        named.append(Descriptor(config.fd))
    if not named and systemd.has_sockets():
        named.append(Activation(None))
    if not named:
        return [Address(config.host, config.port)]
    _note_unused(config, named)
    return list(dict.fromkeys(named))


def _note_unused(config: Config, named: list[Place]) -> None:
    if config.host != type(config).host:
        logger.warning("--host %s is not used: other options say where to listen; name it with --bind", config.host)
    if config.port != type(config).port and not any(isinstance(each, Address) and each.port is None for each in named):
        logger.warning("--port %d is not used: other options say where to listen; name it with --bind", config.port)


def _open(place: Place, config: Config, opened: list[tuple[int, str]]) -> list[socket.socket]:
    if isinstance(place, Address):
        return bind(place.host, config.port if place.port is None else place.port, reuse_port=config.reuse_port)
    if isinstance(place, Path):
        return [bind_unix(place.path, mode=config.uds_mode, owner=config.uds_owner)]
    if isinstance(place, Descriptor):
        return [adopt(place.number)]
    numbers = [number for number, name in opened if place.name in (None, name)]
    if not numbers:
        names = ", ".join(name for _, name in opened)
        raise StartupError(f"systemd has opened no socket that is called {place.name!r}, but these: {names}")
    return [adopt(number) for number in numbers]


# -- TCP


def bind(host: str, port: int, *, reuse_port: bool = False) -> list[socket.socket]:
    """Bind one TCP socket for each address of ``host``; none of them listens yet.

    Args:
        host: an address, a name, or ``""`` for every interface.
        port: 0 for a free one, the same for all addresses.
        reuse_port: whether further sockets of this user may be bound to the same addresses.

    Raises:
        StartupError: naming the address and what is wrong with it.
    """
    bound: list[socket.socket] = []
    try:
        addresses = _resolve(host, port)
        for family, address in addresses:
            # A port of 0 was chosen with the first socket; a host's other addresses share it.
            chosen = bound[0].getsockname()[1] if bound else port
            sock = _bind_one(family, (address[0], chosen, *address[2:]), len(addresses) == 1, reuse_port)
            if sock is not None:
                bound.append(sock)
        if not bound:
            raise OSError(errno.EADDRNOTAVAIL, "")
    except OSError as error:
        close(bound)
        raise cannot_listen(display(host, port), error) from None
    return bound


def _resolve(host: str, port: int) -> list[tuple[socket.AddressFamily, tuple[Any, ...]]]:
    # A str would be encoded by a codec that takes longer to import than to look an address up.
    name = host.encode() if host.isascii() else host
    found = socket.getaddrinfo(name or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # A name can come back twice (as in a careless hosts file); a dict keeps the resolver's order.
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _bind_one(
    family: socket.AddressFamily, address: tuple[Any, ...], alone: bool, reuse_port: bool
) -> socket.socket | None:
    """One bound socket, or ``None`` where one address of several belongs to a family this machine lacks."""
    with contextlib.ExitStack() as undo:
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
            undo.callback(sock.close)
            # "::" alone serves IPv4 as well; beside a socket for 0.0.0.0 it must not.
            _set_options(sock, v6_only=not alone, reuse_port=reuse_port)
            sock.bind(address)
        except OSError as error:
            if alone or error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise
            return None
        undo.pop_all()
    return sock


def _set_options(sock: socket.socket, *, v6_only: bool, reuse_port: bool) -> None:
    sock.setblocking(False)
    if os.name == "posix" and sys.platform != "cygwin":
        # Elsewhere the option lets a second program take over a port in use.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6_only)
    if reuse_port:
        if _REUSE_PORT is None:
            raise StartupError("--reuse-port: this system has no SO_REUSEPORT")
        sock.setsockopt(socket.SOL_SOCKET, _REUSE_PORT, 1)


def _is_reusable(sock: socket.socket) -> bool:
    return _REUSE_PORT is not None and not _is_unix(sock) and bool(sock.getsockopt(socket.SOL_SOCKET, _REUSE_PORT))


def _beside(sock: socket.socket) -> socket.socket:
    """Another socket like this one, at the same address."""
    v6_only = sock.family == socket.AF_INET6 and bool(sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
    made = socket.socket(sock.family, socket.SOCK_STREAM)
    try:
        _set_options(made, v6_only=v6_only, reuse_port=True)
        made.bind(sock.getsockname())
    except OSError as error:
        made.close()
        raise cannot_listen(place(sock), error) from None
    return made


# -- UNIX sockets


def bind_unix(path: str, *, mode: str | None = None, owner: str | None = None) -> socket.socket:
    """Bind a UNIX socket, in place of one that nobody serves any more; it does not listen yet.

    Args:
        mode: of the file, octal; ``None`` is 666, and 660 where there is an owner.
        owner: ``user``, ``user:group`` or ``:group``, by names or numbers.

    Raises:
        StartupError: naming the path and what is wrong with it.
    """
    ids = _ids(owner)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        _clear_the_way(path)
        sock.bind(path)
        made = os.lstat(path)
        _files[sock] = _File(os.path.abspath(path), made.st_dev, made.st_ino, made.st_mtime_ns, os.getpid())
        # Nobody can connect before it listens, so there is no moment in which the wrong ones may.
        _give(path, ids, int(mode, 8) if mode else _MODE_WITH_OWNER if owner else _MODE)
    except OSError as error:
        close([sock])
        raise cannot_listen(f"unix:{path}", error) from None
    except StartupError:
        close([sock])
        raise
    return sock


def _clear_the_way(path: str) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise StartupError(f"Cannot listen on unix:{path}: there is a file that is no socket; choose another path")
    if _is_served(path):
        raise StartupError(f"Cannot listen on unix:{path}: another program is using it; stop it or choose another path")
    os.unlink(path)


def _is_served(path: str) -> bool:
    """Whether a program holds the socket, even if it does not listen yet: then only the type is wrong (EPROTOTYPE)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
        except OSError as error:
            if error.errno != errno.EPROTOTYPE:
                raise
    return True


def _give(path: str, ids: tuple[int, int], mode: int) -> None:
    if ids != (-1, -1):
        try:
            os.chown(path, *ids, follow_symlinks=False)
        except PermissionError:
            raise StartupError(f"--uds-owner: this user may not give {path} to another user or group") from None
    os.chmod(path, mode)


def _ids(owner: str | None) -> tuple[int, int]:
    """User and group as numbers; -1 is as it comes."""
    user, _, group = (owner or "").partition(":")
    return _id("user", user), _id("group", group)


def _id(kind: str, name: str) -> int:
    if not name:
        return -1
    if name.isdecimal():
        return int(name)
    # Imported here: few name an owner.
    import grp
    import pwd

    try:
        return pwd.getpwnam(name).pw_uid if kind == "user" else grp.getgrnam(name).gr_gid
    except KeyError:
        raise StartupError(f"--uds-owner: this machine has no {kind} {name!r}") from None


def _remove(file: _File) -> None:
    with contextlib.suppress(OSError):
        found = os.lstat(file.path)
        # The number of a file that is gone goes to the next one: its time tells them apart.
        if (found.st_dev, found.st_ino, found.st_mtime_ns) == (file.device, file.inode, file.made):
            os.unlink(file.path)


# -- Sockets of others


def adopt(number: int) -> socket.socket:
    """Take over a descriptor that was left open for this process: a stream socket of any family that is bound.

    Raises:
        StartupError: when it is something else.
    """
    try:
        sock = socket.socket(fileno=number)
    except OSError as error:
        reasons = {errno.EBADF: "it is not open", errno.ENOTSOCK: "it is no socket"}
        raise StartupError(f"Cannot listen on fd {number}: {reasons.get(error.errno or 0, error.strerror)}") from None
    reason = _unfit(sock)
    if reason is not None:
        sock.detach()  # it belongs to somebody else
        raise StartupError(f"Cannot listen on fd {number}: it is {reason}")
    sock.set_inheritable(False)
    sock.setblocking(False)
    return sock


def _unfit(sock: socket.socket) -> str | None:
    """What a descriptor is where it is nothing to listen on."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6, getattr(socket, "AF_UNIX", None)):
        return f"a socket of the family {getattr(sock.family, 'name', sock.family)}, neither TCP nor UNIX"
    if sock.type != socket.SOCK_STREAM:
        return f"a {getattr(sock.type, 'name', sock.type)} socket, not a stream"
    with contextlib.suppress(OSError):
        sock.getpeername()
        return "a connection, not a listening socket"
    name = sock.getsockname()
    if not (name[1] if isinstance(name, tuple) else name):
        return "a socket that is bound to no address"
    return None
