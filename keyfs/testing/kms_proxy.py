"""A proxy in front of a KMS that counts its calls, and fails in every manner that a KMS can fail in.

with kms_proxy(server.port) as proxy:
    proxy.fail(Refusal("ThrottlingException"), action="Decrypt", times=1)
    …
    assert proxy.calls["Decrypt"] == 2
"""

import http.client
import json
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

from keyfs.testing.kms_uris import with_options

JOIN_S: Final = 10.0
_UPSTREAM_S: Final = 30.0
_HOP: Final = {"connection", "transfer-encoding", "content-length", "keep-alive", "date", "server"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Answer with a code of AWS; 5xx for those that AWS sends with it."""

    code: str
    message: str = ""
    status: int = 400
    as_xml: bool = False  # as STS says it

    def body(self) -> bytes:
        """What is sent."""
        if not self.as_xml:
            return json.dumps({"__type": self.code, "message": self.message}).encode()
        said = f"<Error><Code>{self.code}</Code><Message>{self.message}</Message></Error>"
        return f"<ErrorResponse>{said}</ErrorResponse>".encode()


@dataclass(frozen=True, slots=True)
class Plain:
    """Answer with this, as something does that is no KMS."""

    body: bytes
    status: int = 200


@dataclass(frozen=True, slots=True)
class Hang:
    """Take the request and say nothing until the proxy heals or stops."""


@dataclass(frozen=True, slots=True)
class Drip:
    """Answer truly, but byte after byte: no pause need be long, the whole is."""

    pause_s: float = 0.2


@dataclass(frozen=True, slots=True)
class Cut:
    """Have the request done, and cut the connection with *after* bytes of the answer's body sent."""

    after: int | None = None  # None: not even its head


@dataclass(frozen=True, slots=True)
class Change:
    """Answer with something else than the KMS did."""

    edit: Callable[[dict[str, Any]], dict[str, Any]]


Fault = Refusal | Plain | Hang | Drip | Cut | Change


@dataclass(slots=True)
class _Rule:
    fault: Fault
    action: str
    times: int | None


class KMSProxy:
    """Listens on a port of 127.0.0.1 that stays the same, and forwards to another. Safe for threads.

    Args:
        target: the other port.
        certificate: of the proxy, and its private key, in PEM: then it speaks TLS.
    """

    def __init__(self, target: int, certificate: tuple[Path, Path] | None = None) -> None:
        self.target = target
        self._certificate = certificate
        self.calls: Counter[str] = Counter()  # by action (Decrypt, Encrypt, …), retries and failures included
        self.port = 0
        self.last_login = ""  # the header that says who asked last
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()
        self.healed = threading.Event()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The endpoint to name."""
        return f"{'https' if self._certificate else 'http'}://127.0.0.1:{self.port}"

    def uri(self, key: str = "", **options: str) -> str:
        """The URI of a master key that a key wraps behind here."""
        return with_options(f"awskms:{key}", self.url, options)

    def per_client(self, **options: str) -> str:
        """The URI of a key for each client behind here."""
        return with_options("awskms-per-client:", self.url, options)

    def fail(self, fault: Fault, action: str = "", times: int | None = None) -> None:
        """Fail so from now on: each call, or each of *action*, or only the next *times*."""
        with self._lock:
            self.healed.clear()
            self._rules.append(_Rule(fault, action, times))

    def heal(self) -> None:
        """Forward all again, and let go of what hangs."""
        with self._lock:
            self._rules.clear()
        self.healed.set()

    def start(self) -> None:
        """Listen, on the port that it had before, if any."""
        self.healed.clear()
        self._server = _Server(("127.0.0.1", self.port), _Handler)
        self._server.proxy = self
        if self._certificate is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(*self._certificate)
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Listen no more, and cut every connection."""
        if self._server is None or self._thread is None:
            return
        self.healed.set()
        self._server.shutdown()
        self._server.cut_all()
        self._server.server_close()
        self._thread.join(JOIN_S)
        self._server = self._thread = None

    def met(self, action: str) -> Fault | None:
        """Count a call; how it is to fail, if at all."""
        with self._lock:
            self.calls[action] += 1
            for rule in self._rules:
                if rule.action in ("", action) and rule.times != 0:
                    rule.times = None if rule.times is None else rule.times - 1
                    return rule.fault
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    proxy: KMSProxy

    def __init__(self, *args: Any) -> None:  # noqa: ANN401 - as in the standard library
        self.open: set[socket.socket] = set()
        super().__init__(*args)

    def cut_all(self) -> None:
        for connection in tuple(self.open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: clients break off."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for the client's acknowledgement
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.open.add(self.connection)

    def finish(self) -> None:
        self.server.open.discard(self.connection)
        with suppress(OSError):
            super().finish()

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        action = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        action = action or parse_qs(body.decode("ascii", "replace")).get("Action", ["?"])[0]
        self.server.proxy.last_login = self.headers.get("Authorization", "")
        fault = self.server.proxy.met(action)
        if isinstance(fault, Refusal):
            self._answer(fault.status, fault.body())
        elif isinstance(fault, Plain):
            self._answer(fault.status, fault.body)
        elif isinstance(fault, Hang):
            self.server.proxy.healed.wait()
            self.close_connection = True
        else:
            self._forward(body, fault)

    def _forward(self, body: bytes, fault: Drip | Cut | Change | None) -> None:
        try:
            status, answer = self._upstream(body)
        except OSError:
            self.close_connection = True
            return
        if isinstance(fault, Change):
            answer = json.dumps(fault.edit(json.loads(answer))).encode()
        if isinstance(fault, Cut):
            self.close_connection = True
            if fault.after is not None:
                self._answer(status, answer, fault.after)
        elif isinstance(fault, Drip):
            self._answer(status, answer, 0)
            for at in range(len(answer)):
                if self.server.proxy.healed.wait(fault.pause_s):
                    break
                self.wfile.write(answer[at : at + 1])
            self.close_connection = True
        else:
            self._answer(status, answer)

    def _upstream(self, body: bytes) -> tuple[int, bytes]:
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.proxy.target, timeout=_UPSTREAM_S)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
            upstream.request("POST", self.path, body, headers)
            answer = upstream.getresponse()
            return answer.status, answer.read()
        finally:
            upstream.close()

    def _answer(self, status: int, body: bytes, sent: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:sent])


@contextmanager
def kms_proxy(target: int, certificate: tuple[Path, Path] | None = None) -> Iterator[KMSProxy]:
    """A running proxy to a port of 127.0.0.1; see `KMSProxy`."""
    proxy = KMSProxy(target, certificate)
    try:
        proxy.start()
        yield proxy
    finally:
        proxy.stop()
