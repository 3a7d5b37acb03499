"""A strict local double of Vault's HTTP API, built from its public documentation. It is no Vault.

No registry has a server of Vault or OpenBao, so keyfs was never run against a real one. What this double
answers follows the public API pages: api-docs (headers, status codes, errors), auth/token, auth/approle,
auth/kubernetes, secret/kv/kv-v1, secret/kv/kv-v2, secret/transit, system/internal-ui-mounts,
system/seal-status; and, for texts of errors, issues of hashicorp/vault. What it does not know it refuses
(unknown
paths, methods and fields), where Vault may be more lenient: a request that passes here is one that the pages
describe.
"""

import json
import socketserver
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from keyfs.testing.vault_access import Access, Token
from keyfs.testing.vault_engines import Asked, Engine, Said

_ACTIONS: Final = {"GET": "read", "LIST": "list", "POST": "write", "PUT": "write", "DELETE": "delete"}
_KEEP_ALIVE_S: Final = 5.0
_DENIED: Final = Said(403, errors=("1 error occurred:\n\t* permission denied\n\n",))
_SEALED: Final = Said(503, errors=("Vault is sealed",))
_OK: Final = 200


@dataclass(frozen=True)
class Fault:
    """What is answered instead: a status with a body, or nothing at all."""

    status: int = 500
    body: bytes = b'{"errors":["internal error"]}'
    headers: Mapping[str, str] = field(default_factory=dict)
    hangs: bool = False


@dataclass(frozen=True)
class Seen:
    """A request as it came in."""

    method: str
    path: str
    headers: Mapping[str, str]


class VaultDouble:
    """A server on 127.0.0.1 while the `with` block lasts.

    Args:
        server: certificate and key, for https.
        client_ca: clients must show a certificate that this authority signed.
    """

    def __init__(self, server: tuple[Path, Path] | None = None, client_ca: Path | None = None) -> None:
        self.mounts: dict[str, Engine] = {}  # by path, no slashes around
        self.access = Access()
        self.is_sealed = False
        self.are_mounts_forbidden = False
        self.namespace: str | None = None
        self.faults: dict[str, Fault] = {}  # by path below /v1/, "" for every path
        self.seen: list[Seen] = []
        self.released = threading.Event()
        handler = type("Handler", (_Handler,), {"vault": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._scheme = "http" if server is None else "https"
        if server is not None:
            self._server.socket = _context(server, client_ca).wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.server_address[1]

    @property
    def address(self) -> str:
        """For the option `address`."""
        return f"{self._scheme}://127.0.0.1:{self.port}"

    def __enter__(self) -> "VaultDouble":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Any]:
        """Status and document for one request."""
        parts = urlsplit(target)
        path = unquote(parts.path).removeprefix("/v1/")
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        action = "list" if query.pop("list", "") == "true" else _ACTIONS.get(method, "")
        try:
            document = json.loads(body) if body else {}
        except ValueError:
            document = None
        if not parts.path.startswith("/v1/"):
            return 404, {"errors": []}
        if not action or not isinstance(document, dict):
            return 400, {"errors": ["failed to parse JSON input: unexpected EOF"]}
        asked = Asked(action, path, query, document)
        return _dressed(self._answer(asked, headers))

    def _answer(self, asked: Asked, headers: Mapping[str, str]) -> "Said | dict[str, Any]":
        if asked.path == "sys/seal-status" and asked.action == "read":
            return {"type": "shamir", "initialized": True, "sealed": self.is_sealed, "t": 1, "n": 1}
        if self.is_sealed:
            return _SEALED
        if headers.get("X-Vault-Namespace") != self.namespace:
            return _DENIED  # a token of one namespace is none of another
        login = self.access.login(asked)
        return login if login is not None else self._with_token(asked, headers)

    def _with_token(self, asked: Asked, headers: Mapping[str, str]) -> Said:
        text = headers.get("X-Vault-Token")
        token = self.access.tokens.get(text or "")
        if (
            asked.path == "sys/internal/ui/mounts"
            and asked.action == "read"
            and not self.are_mounts_forbidden
        ):
            return self._visible_mounts(text, token)
        if token is None or token.is_expired(time.monotonic()):
            return _DENIED
        own = self.access.own(text or "", token, asked)
        return own if own is not None else self._below_mount(asked, token)

    def _below_mount(self, asked: Asked, token: Token) -> Said:
        if not token.allows(asked.path, asked.action):
            return _DENIED
        for mount, engine in self.mounts.items():
            if f"{asked.path}/".startswith(f"{mount}/"):
                return engine.answer(asked._replace(path=asked.path.removeprefix(mount).strip("/")))
        return Said(404, errors=(f'no handler for route "{asked.path}". route entry not found.',))

    def _visible_mounts(self, text: str | None, token: Token | None) -> Said:
        """Unauthenticated it shows none of ours; with a token those that its policies reach into."""
        if text is not None and (token is None or token.is_expired(time.monotonic())):
            return _DENIED
        shown = {
            f"{name}/": {"type": engine.kind, "description": "", "options": engine.options}
            for name, engine in self.mounts.items()
            if token is not None and token.reaches_into(name)
        }
        return Said(200, {"auth": {}, "secret": shown})


def _dressed(said: "Said | dict[str, Any]") -> tuple[int, Any]:
    """The document that Vault sends: the response's members around `data`, or `errors`."""
    if isinstance(said, dict):
        return _OK, said
    if said.status == 204:  # noqa: PLR2004 - HTTP's number for an empty answer
        return said.status, None
    if said.data is None and not said.warnings:
        return said.status, {"errors": list(said.errors)}
    is_login = said.data is not None and said.data.keys() == {"client_token", "lease_duration"}
    return said.status, {
        "request_id": "48d2c601-97a0-3904-f549-4fcbc740d718",
        "lease_id": "",
        "renewable": False,
        "lease_duration": 0,
        "data": None if is_login else said.data,
        "wrap_info": None,
        "warnings": list(said.warnings) or None,
        "auth": said.data if is_login else None,
    }


def _context(server: tuple[Path, Path], client_ca: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*server)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class _Server(socketserver.ThreadingMixIn, HTTPServer):
    """One thread for each connection; closing waits for them."""

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as in socketserver
        """A client that breaks off, or shows no certificate, is what tests do."""


class _Handler(BaseHTTPRequestHandler):
    vault: ClassVar[VaultDouble]
    protocol_version = "HTTP/1.1"
    timeout = _KEEP_ALIVE_S

    def _reply(self) -> None:
        path = unquote(urlsplit(self.path).path).removeprefix("/v1/")
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.vault.seen.append(Seen(self.command, path, dict(self.headers.items())))
        fault = self.vault.faults.get(path) or self.vault.faults.get("")
        if fault is not None and fault.hangs:
            self.vault.released.wait()
            self.close_connection = True
        elif fault is not None:
            self._send(fault.status, fault.body, fault.headers)
        else:
            status, document = self.vault.answer(self.command, self.path, dict(self.headers.items()), body)
            self._send(status, b"" if document is None else json.dumps(document).encode(), {})

    do_GET = do_LIST = do_POST = do_PUT = do_DELETE = _reply  # noqa: N815 - the names that http.server calls

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        usual = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        for name, value in {**usual, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.close_connection |= "Content-Length" in headers  # a lie: the answer breaks off
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in http.server
        """Say nothing on stderr."""
