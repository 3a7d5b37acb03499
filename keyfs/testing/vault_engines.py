"""The secrets engines of the Vault double: key-value 1 and 2, and Transit with real AES-GCM.

See `keyfs.testing.vault_double`, which says what they follow.
"""

import binascii
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

NONCE_BYTES: Final = 12
KEY_BYTES: Final = 32
CREATED: Final = "2026-11-24T07:05:24.154892Z"
INVALID_PATH: Final = (
    "Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints to "
    "use. If using the Vault CLI, use 'vault kv get' for this operation."
)
_CIPHERTEXT: Final = re.compile(r"vault:v(\d+):(.*)")


class Said(NamedTuple):
    """An answer before it is JSON: `data` for 200, `errors` for the rest."""

    status: int
    data: Mapping[str, Any] | None = None
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Asked(NamedTuple):
    """A request below a mount."""

    action: str  # read, list, write, delete: what the HTTP method means
    path: str  # behind the mount, no slash in front
    query: Mapping[str, str]
    body: Mapping[str, Any]


UNSUPPORTED: Final = Said(405, errors=("1 error occurred:\n\t* unsupported operation\n\n",))
UNKNOWN_PATH: Final = Said(404, errors=("1 error occurred:\n\t* unsupported path\n\n",))
NOTHING: Final = Said(404)


def bad_request(text: str) -> Said:
    """A 400 with Vault's text."""
    return Said(400, errors=(text,))


@dataclass
class KV1:
    """Secrets by path; each has fields of any JSON type."""

    secrets: dict[str, dict[str, Any]] = field(default_factory=dict)
    kind: str = "kv"
    options: dict[str, str] | None = None  # as for a mount made before there were versions

    def answer(self, asked: Asked) -> Said:
        """GET only; keyfs has no business to write."""
        if asked.action != "read":
            return UNSUPPORTED
        fields = self.secrets.get(asked.path)
        return NOTHING if fields is None else Said(200, fields)


@dataclass
class Version:
    """One version of a secret; `fields` is None once it is destroyed."""

    fields: dict[str, Any] | None
    deleted_at: str = ""

    def metadata(self, number: int) -> dict[str, Any]:
        """As a read shows it."""
        is_destroyed = self.fields is None
        return {
            "created_time": CREATED,
            "custom_metadata": None,
            "deletion_time": self.deleted_at,
            "destroyed": is_destroyed,
            "version": number,
        }


@dataclass
class KV2:
    """Versions by path, the first is number 1."""

    secrets: dict[str, list[Version]] = field(default_factory=dict)
    kind: str = "kv"
    options: dict[str, str] | None = field(default_factory=lambda: {"version": "2"})

    def put(self, path: str, fields: dict[str, Any]) -> None:
        """Add a version."""
        self.secrets.setdefault(path, []).append(Version(fields))

    def answer(self, asked: Asked) -> Said:
        """GET below `data/` only."""
        place, _, path = asked.path.partition("/")
        if place != "data":
            return Said(404, warnings=(INVALID_PATH,))
        if asked.action != "read":
            return UNSUPPORTED
        if asked.query.keys() - {"version"}:
            return bad_request("unknown query parameter")
        versions = self.secrets.get(path, [])
        number = int(asked.query.get("version", "0")) or len(versions)
        if not 0 < number <= len(versions):
            return NOTHING
        version = versions[number - 1]
        is_gone = version.fields is None or version.deleted_at != ""
        data = {"data": None if is_gone else version.fields, "metadata": version.metadata(number)}
        return Said(404 if is_gone else 200, data)


@dataclass
class TransitKeyDouble:
    """A named key with its versions."""

    is_derived: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    versions: list[bytes] = field(default_factory=lambda: [os.urandom(KEY_BYTES)])
    oldest: int = 1  # min_decryption_version

    def rotate(self) -> None:
        """Add a version; it encrypts from now on."""
        self.versions.append(os.urandom(KEY_BYTES))

    def cipher(self, number: int, context: bytes | None) -> AESGCM:
        """The cipher of a version, derived if the key is."""
        key = self.versions[number - 1]
        if self.is_derived:
            key = HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=None, info=context).derive(key)
        return AESGCM(key)


@dataclass
class Transit:
    """Named keys that encrypt and decrypt."""

    keys: dict[str, TransitKeyDouble] = field(default_factory=dict)
    damaged_status: int = 400  # Vault 1.5 to 1.7 said 500 to what does not decrypt
    kind: str = "transit"
    options: dict[str, str] | None = None

    def answer(self, asked: Asked) -> Said:
        """Paths `keys[/NAME]`, `encrypt/NAME`, `decrypt/NAME`."""
        place, _, name = asked.path.partition("/")
        if place == "keys" and not name:
            return self._list(asked)
        known: dict[str, Callable[[str, Asked], Said]] = {
            "keys": self._key,
            "encrypt": self._encrypt,
            "decrypt": self._decrypt,
        }
        if place not in known or not name or "/" in name:
            return UNKNOWN_PATH
        return known[place](name, asked)

    def _list(self, asked: Asked) -> Said:
        if asked.action != "list":
            return UNSUPPORTED
        return Said(200, {"keys": sorted(self.keys)}) if self.keys else NOTHING

    def _key(self, name: str, asked: Asked) -> Said:
        if asked.action == "write":
            return self._create(name, asked.body)
        if asked.action != "read":
            return UNSUPPORTED
        key = self.keys.get(name)
        if key is None:
            return NOTHING
        numbers = {str(number + 1): 1764000000 for number in range(len(key.versions))}
        return Said(200, {"name": name, "keys": numbers, "derived": key.is_derived, **key.settings})

    def _create(self, name: str, body: Mapping[str, Any]) -> Said:
        if body.keys() - {"type", "derived", "exportable", "allow_plaintext_backup"}:
            return bad_request("unknown field")
        if body.get("type", "aes256-gcm96") != "aes256-gcm96":
            return bad_request("unknown key type")
        self.keys.setdefault(name, TransitKeyDouble(body.get("derived", False), dict(body)))
        return Said(204)

    def _encrypt(self, name: str, asked: Asked) -> Said:
        if asked.action != "write":
            return UNSUPPORTED
        if asked.body.keys() - {"plaintext", "context"}:
            return bad_request("unknown field")
        if name not in self.keys:
            self.keys[name] = TransitKeyDouble(
                "context" in asked.body
            )  # as Vault does where `create` is allowed
        key = self.keys[name]
        try:
            plaintext, context = _decoded(asked.body, "plaintext"), _context(key, asked.body)
        except ValueError as exc:
            return bad_request(str(exc))
        nonce, number = os.urandom(NONCE_BYTES), len(key.versions)
        sealed = nonce + key.cipher(number, context).encrypt(nonce, plaintext, None)
        text = binascii.b2a_base64(sealed, newline=False).decode()
        return Said(200, {"ciphertext": f"vault:v{number}:{text}", "key_version": number})

    def _decrypt(self, name: str, asked: Asked) -> Said:
        if asked.action != "write":
            return UNSUPPORTED
        if asked.body.keys() - {"ciphertext", "context"}:
            return bad_request("unknown field")
        if name not in self.keys:
            return bad_request("encryption key not found")
        try:
            plaintext = self._opened(self.keys[name], asked.body)
        except InvalidTag:
            return Said(self.damaged_status, errors=("cipher: message authentication failed",))
        except ValueError as exc:
            return bad_request(str(exc))
        return Said(200, {"plaintext": binascii.b2a_base64(plaintext, newline=False).decode()})

    def _opened(self, key: TransitKeyDouble, body: Mapping[str, Any]) -> bytes:
        match = _CIPHERTEXT.fullmatch(str(body.get("ciphertext")))
        if match is None:
            raise ValueError("invalid ciphertext: no prefix")
        number = int(match[1])
        if not 0 < number <= len(key.versions):
            raise ValueError("invalid ciphertext: version is too new")
        if number < key.oldest:
            raise ValueError("ciphertext or signature version is disallowed by policy (too old)")
        try:
            sealed = binascii.a2b_base64(match[2], strict_mode=True)
        except binascii.Error:
            raise ValueError("invalid ciphertext: could not decode base64") from None
        if len(sealed) <= NONCE_BYTES:
            raise ValueError("invalid ciphertext: length is too short")
        cipher = key.cipher(number, _context(key, body))
        return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None)


@dataclass
class Other:
    """An engine that keyfs has no use for."""

    kind: str = "pki"
    options: dict[str, str] | None = None

    def answer(self, asked: Asked) -> Said:
        """It has no paths."""
        return UNKNOWN_PATH


Engine = KV1 | KV2 | Transit | Other


def _context(key: TransitKeyDouble, body: Mapping[str, Any]) -> bytes | None:
    if not key.is_derived:
        return None
    if not body.get("context"):
        raise ValueError("missing 'context' for key derivation; the key was created using a derived key")
    return _decoded(body, "context")


def _decoded(body: Mapping[str, Any], name: str) -> bytes:
    value = body.get(name)
    try:
        return binascii.a2b_base64(value if isinstance(value, str) else "?", strict_mode=True)
    except binascii.Error:
        raise ValueError(f"failed to base64-decode {name}") from None
