"""One plain redis-server on a unix socket, which a test can stop, kill and start again."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from keyfs.store.redis_client import Client
from keyfs.testing.waiting import wait_until

START_S = 10.0


class RedisServer:
    """A server of its own for a test; its data survives a restart."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self.socket = place / "redis.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def client(self) -> Client:
        """A new connection."""
        return redis.Redis(unix_socket_path=str(self.socket), socket_timeout=20)

    def uri(self, prefix: str = ".acrakeys") -> str:
        """The store with this prefix."""
        return f"unix://{self.socket}?prefix={prefix}"

    def start(self) -> None:
        """Start it, with the data that it had."""
        words = ["redis-server", "--port", "0", "--unixsocket", str(self.socket), "--dir", str(self._place)]
        words += ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--loglevel", "warning"]
        self.socket.unlink(missing_ok=True)
        with (self._place / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log)  # noqa: S603 - fixed words
        wait_until(self._answers, START_S)

    def kill(self) -> None:
        """End it without warning."""
        assert self._process is not None  # noqa: S101 - this is the test kit
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """Let it answer nobody, while its connections stay."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it answer again."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None  # noqa: S101 - this is the test kit
        os.kill(self._process.pid, number)

    def _answers(self) -> bool:
        try:
            with self.client as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


@contextmanager
def one_redis(place: Path) -> Iterator[RedisServer]:
    """A running server below *place*."""
    place.mkdir(exist_ok=True)
    server = RedisServer(place)
    server.start()
    try:
        yield server
    finally:
        server.kill()
