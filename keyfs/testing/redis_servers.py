"""Real Redis servers for tests: Debian's, each with a folder of its own, on a unix socket and on 127.0.0.1.

    with redis_server() as server:
        RedisStore(*parse_redis_uri(server.uri(), {}))

What a test asks of a server by itself goes through the unix socket, as a user who may do everything.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
import redis

from keyfs.store.redis_client import no_retry
from keyfs.testing.certificates import Authority
from keyfs.testing.waiting import wait_until

START_S: Final = 20.0
ADMIN: Final = ("admin", "all-is-allowed")  # who may do everything where there is an ACL
_START_TRIES: Final = 5  # another program may take a port that was free a moment ago


def require_redis() -> None:
    """Skip the test where there is no redis-server; fail it in CI, where a skip is a hole."""
    if shutil.which("redis-server") is None or shutil.which("redis-cli") is None:
        reason = "redis-server or redis-cli is missing; run scripts/setup --test"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens at, at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    return int(port)


class RedisServer:
    """One server process. Its folder, and what it saved there, outlive a restart.

    Args:
        folder: made here.
        words: for redis-server; a configuration file would be the first.
        acl: lines of an ACL file; the default user is off then.
        authority: signs the certificate with which the port speaks TLS; clients have to show one, too.
    """

    def __init__(
        self,
        folder: Path,
        words: Sequence[str] = (),
        acl: Sequence[str] = (),
        authority: Authority | None = None,
    ) -> None:
        folder.mkdir()
        self.folder = folder
        self.unix = folder / "s"
        self.port = 0
        self.authority = authority
        self._words = tuple(words)
        self._has_acl = bool(acl)
        self._process: subprocess.Popen[bytes] | None = None
        if acl:
            name, password = ADMIN
            lines = ["user default off", f"user {name} on >{password} ~* &* +@all", *acl]
            (folder / "users.acl").write_text("\n".join(lines) + "\n")
        self.admin: Any = redis.Redis(
            unix_socket_path=str(self.unix),
            username=ADMIN[0] if acl else None,
            password=ADMIN[1] if acl else None,
            socket_timeout=10,
            protocol=2,
            retry=no_retry(),
        )

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None  # noqa: S101 - this is the test kit
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    def uri(self, prefix: str = "ks", user: str = "", **parameters: str) -> str:
        """The store over TCP, or TLS; *user* is `NAME:PASSWORD`."""
        if self.authority is not None:
            parameters = self.authority.client_parameters | parameters
        scheme = "redis" if self.authority is None else "rediss"
        at = f"{user}@" if user else ""
        query = "&".join(f"{name}={quote(value)}" for name, value in {"prefix": prefix, **parameters}.items())
        return f"{scheme}://{at}127.0.0.1:{self.port}/0?{query}"

    def unix_uri(self, prefix: str = "ks") -> str:
        """The store over the unix socket."""
        return f"unix://{self.unix}?prefix={prefix}"

    def start(self) -> None:
        """Start it, on the port that it had before, if any, and wait until it answers."""
        is_new = self.port == 0
        for _ in range(_START_TRIES):
            self.port = free_port() if is_new else self.port
            self._launch()
            wait_until(lambda: not self.is_running or self._answers(), START_S)
            if self.is_running:
                return
            assert "already in use" in self.log, self.log  # noqa: S101 - as above
        raise AssertionError(self.log)

    @property
    def log(self) -> str:
        """What the server wrote to its log."""
        return (self.folder / "log").read_text()

    def kill(self) -> None:
        """End the process without warning."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def freeze(self) -> None:
        """Let it answer nobody, while its connections stay."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it answer again."""
        os.kill(self.pid, signal.SIGCONT)

    def ask(self, *command: str | bytes | int) -> Any:  # noqa: ANN401 - any Redis answer
        """What the server answers to a user who may do everything."""
        return self.admin.execute_command(*command)

    def cli(self, *words: str) -> str:
        """What a third party gets: `redis-cli`."""
        return redis_cli("-s", str(self.unix), *words)

    def close(self) -> None:
        """End it and forget its folder."""
        self.kill()
        self.admin.close()
        shutil.rmtree(self.folder, ignore_errors=True)  # the server may just have written there

    def _launch(self) -> None:
        self.unix.unlink(missing_ok=True)
        # The server ends with this process, however that ends.
        words = ["setpriv", "--pdeathsig", "KILL", "redis-server", *self._command()]
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log)  # noqa: S603 - fixed words

    def _command(self) -> list[str]:
        port = ["--port", str(self.port)]
        if self.authority is not None:
            port = ["--port", "0", "--tls-port", str(self.port), *self.authority.server_options]
        acl = ["--aclfile", str(self.folder / "users.acl")] if self._has_acl else []
        where = ["--bind", "127.0.0.1", "--unixsocket", str(self.unix), "--dir", str(self.folder)]
        return [*self._words, *port, *where, *acl, "--save", "", "--repl-diskless-sync-delay", "0"]

    def _answers(self) -> bool:
        try:
            return bool(self.admin.ping())
        except redis.AuthenticationError:
            return True  # it wants a password of a test's own
        except redis.RedisError:
            return False


def redis_cli(*words: str) -> str:
    """What `redis-cli` prints; it has to succeed."""
    done = subprocess.run(  # noqa: S603 - a fixed command
        ["redis-cli", *words],  # noqa: S607 - wherever Debian puts it
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr  # noqa: S101 - this is the test kit
    return done.stdout.strip()


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder whose path is short: that of a unix socket may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as path:
        yield Path(path)


@contextmanager
def redis_server(
    *options: str, acl: Sequence[str] = (), authority: Authority | None = None
) -> Iterator[RedisServer]:
    """A running server; see `RedisServer`."""
    require_redis()
    with short_folder() as place:
        server = RedisServer(place / "0", options, acl, authority)
        with closing(server):
            server.start()
            yield server
