"""Real servers that speak AWS KMS, for tests: moto and ministack, each on a port of 127.0.0.1.

    with moto_server(folder) as kms:
        kms.make("alias/acra_master_key")

Neither is AWS. moto forgets all when it ends, and uses disabled keys; ministack opens what was tampered
with or is another key's, to something else.
"""

import functools
import os
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import boto3.session
import pytest
from botocore.config import Config

import keyfs
from keyfs.testing.kms_uris import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY, with_options
from keyfs.testing.redis_servers import free_port
from keyfs.testing.waiting import wait_until

_PROGRAMS: Final = Path(keyfs.__file__).parents[1] / ".venv-servers" / "bin"
_START_S: Final = 60.0
_STOP_S: Final = 20.0
_ANSWER_S: Final = 10.0


class KMSServer:
    """One server process.

    Args:
        words: the command; `{port}` stands for its port.
        variables: for its environment, `{port}` again.
        folder: its home.
        paths: what is asked to see whether it answers, and what to post to that makes it forget.
    """

    def __init__(
        self, words: list[str], variables: Mapping[str, str], folder: Path, paths: tuple[str, str]
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.port = free_port()
        self._words, self._variables, self._folder = words, variables, folder
        self._health, self._reset = paths
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its endpoint."""
        return f"http://127.0.0.1:{self.port}"

    def uri(self, key: str = "", **options: str) -> str:
        """The URI of a master key that a key wraps in here."""
        return with_options(f"awskms:{key}", self.url, options)

    def per_client(self, **options: str) -> str:
        """The URI of a key for each client in here."""
        return with_options("awskms-per-client:", self.url, options)

    def client(self, service: str = "kms") -> Any:  # noqa: ANN401 - botocore ships no types
        """A client that has nothing of keyfs."""
        return raw_client(self.url, service)

    def make(self, alias: str) -> str:
        """Make a key with an alias; its ARN."""
        client = self.client()
        metadata = client.create_key()["KeyMetadata"]
        client.create_alias(AliasName=alias, TargetKeyId=metadata["KeyId"])
        return str(metadata["Arn"])

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._folder.joinpath("tmp").mkdir(exist_ok=True)
        own = {"HOME": str(self._folder), "TMPDIR": str(self._folder / "tmp")}
        own |= {name: value.format(port=self.port) for name, value in self._variables.items()}
        theirs = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        # The server ends with this process, however that ends.
        words = ["setpriv", "--pdeathsig", "KILL", *(word.format(port=self.port) for word in self._words)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log, env=theirs | own)  # noqa: S603 - ours
        wait_until(
            lambda: self._process is None or self._process.poll() is not None or self._is_up(), _START_S
        )
        assert self._process.poll() is None, (self._folder / "log").read_text()  # noqa: S101 - this is the test kit

    def stop(self) -> None:
        """Ask it to end, and wait; what it saves is saved then."""
        process = self._process
        if process is None:
            return
        self._process = None
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def forget(self) -> None:
        """Empty it."""
        self._ask(self._reset, b"")

    def _is_up(self) -> bool:
        try:
            self._ask(self._health)
        except OSError:
            return False
        return True

    def _ask(self, path: str, data: bytes | None = None) -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.url + path, data, timeout=_ANSWER_S) as answer:
            answer.read()


def raw_client(endpoint: str, service: str = "kms") -> Any:  # noqa: ANN401 - botocore ships no types
    """A client that has nothing of keyfs, and nothing of the machine's settings."""
    return _session().client(
        service,
        region_name=REGION,
        endpoint_url=endpoint,
        aws_access_key_id=ACCESS_KEY_ID,
        aws_secret_access_key=SECRET_ACCESS_KEY,
        config=Config(proxies={}, retries={"total_max_attempts": 1}),
    )


@functools.cache
def _session() -> Any:  # noqa: ANN401 - as above
    """One for all: each reads the description of KMS anew."""
    return boto3.session.Session()


@contextmanager
def moto_server(folder: Path) -> Iterator[KMSServer]:
    """A running moto: KMS, STS and more."""
    words = [_program("moto_server"), "-H", "127.0.0.1", "-p", "{port}"]
    yield from _running(KMSServer(words, {}, folder, ("/moto-api/data.json", "/moto-api/reset")))


@contextmanager
def ministack_server(folder: Path) -> Iterator[KMSServer]:
    """A running ministack: KMS, and what it saves when it is stopped is there when it is started again."""
    variables = {
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": "{port}",
        "SERVICES": "kms",
        "PERSIST_STATE": "1",
        "STATE_DIR": str(folder / "state"),
    }
    paths = ("/_ministack/health", "/_ministack/reset")
    yield from _running(KMSServer([_program("ministack")], variables, folder, paths))


def _running(server: KMSServer) -> Iterator[KMSServer]:
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _program(name: str) -> str:
    """Where it is; the test is skipped if it is nowhere, and fails in CI, where a skip is a hole."""
    found = shutil.which(name, path=f"{_PROGRAMS}:{os.environ.get('PATH', '')}")
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{name} is missing; run scripts/setup --test")
    return found
