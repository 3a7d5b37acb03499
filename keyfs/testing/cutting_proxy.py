"""A TCP proxy between a client and its server that does what networks do at the worst moment.

    with cutting_proxy(server.port) as proxy:
        proxy.on(b"EXEC", CutReply())  # the next such request is carried out, but not answered

A trap is sprung once. Connections that are made afterwards are forwarded as ever.
"""

import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

READ_SIZE: Final = 1 << 16
JOIN_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class CutReply:
    """Forward the request; of the reply only *after* bytes, then cut the connection.

    With *for_good*, no connection is made any more.
    """

    after: int = 0
    for_good: bool = False


@dataclass(frozen=True, slots=True)
class CutRequest:
    """Forward nothing of the request and cut the connection."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Forward nothing of the request until `release`, and cut the client's side at once."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Forward nothing and answer with these bytes, as a server does that lies; then cut, or *stay*."""

    data: bytes
    stay: bool = False


@dataclass(frozen=True, slots=True)
class First:
    """Do something before the request is forwarded."""

    act: Callable[[], object]


Trap = CutReply | CutRequest | Hold | Answer | First


class CuttingProxy:
    """Listens on a port of 127.0.0.1 and forwards to another."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._traps: list[tuple[bytes, Trap]] = []
        self.sprung: list[bytes] = []  # the requests that sprang a trap
        self._held: list[tuple[socket.socket, bytes]] = []
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._passes = threading.Event()
        self._passes.set()
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def on(self, pattern: bytes, trap: Trap) -> None:
        """Set a trap for the next request that has these bytes in it."""
        with self._lock:
            self._traps.append((pattern, trap))

    def forget(self) -> None:
        """Take away traps that nothing sprang."""
        with self._lock:
            self._traps.clear()

    def stop_forwarding(self) -> None:
        """Take bytes and keep them: the network is silent from now on."""
        self._passes.clear()

    def go_on(self) -> None:
        """Forward what was kept, and what comes."""
        self._passes.set()

    def release(self) -> None:
        """Let the held requests arrive, and wait for the server to have taken them."""
        for server, data in self._held:
            server.sendall(data)
            server.shutdown(socket.SHUT_WR)
            while server.recv(READ_SIZE):
                pass
        self._held.clear()

    def cut_all(self) -> None:
        """Cut every connection there is."""
        with self._lock:
            for end in self._open:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Stop, and leave nothing."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._passes.set()
        self.cut_all()
        for thread in self._threads:
            thread.join(JOIN_S)
        for end in (self._listener, *self._open):
            end.close()

    def _start(self, work: object, *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)  # type: ignore[arg-type] # any method
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            with self._lock:
                self._open |= {client, server}
            self._start(self._forward, client, server)

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ)
            selector.register(server, selectors.EVENT_READ)
            with suppress(OSError):
                while self._pass_on(selector, client, server):
                    pass
        with self._lock:
            for end in {client, server}.difference(held for held, _ in self._held):
                self._open.discard(end)
                end.close()

    def _pass_on(
        self, selector: selectors.BaseSelector, client: socket.socket, server: socket.socket
    ) -> bool:
        for key, _ in selector.select():
            source = client if key.fileobj is client else server
            data = source.recv(READ_SIZE)
            self._passes.wait()
            if not data:
                return False
            trap = self._sprung_by(data) if source is client else None
            if trap is not None:
                return self._spring(trap, data, client, server)
            (server if source is client else client).sendall(data)
        return True

    def _sprung_by(self, data: bytes) -> Trap | None:
        with self._lock:
            for pattern, trap in self._traps:
                if pattern in data:
                    self._traps.remove((pattern, trap))
                    self.sprung.append(data)
                    return trap
        return None

    def _spring(self, trap: Trap, data: bytes, client: socket.socket, server: socket.socket) -> bool:
        if isinstance(trap, First):
            trap.act()
            server.sendall(data)
            return True
        if isinstance(trap, CutReply):
            server.sendall(data)
            reply = server.recv(READ_SIZE)
            if trap.for_good:
                self._listener.shutdown(socket.SHUT_RDWR)
            client.sendall(reply[: trap.after])
        elif isinstance(trap, Answer):
            client.sendall(trap.data)
        elif isinstance(trap, Hold):
            self._held.append((server, data))
        return isinstance(trap, Answer) and trap.stay


@contextmanager
def cutting_proxy(target: int) -> Iterator[CuttingProxy]:
    """A running proxy to a port of 127.0.0.1."""
    proxy = CuttingProxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
