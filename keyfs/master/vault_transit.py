"""`vault-transit:[MOUNT/]KEY?…`: a key in Vault's Transit engine that wraps master keys and stays there.

Follows the public HTTP API (api-docs/secret/transit): encrypt, decrypt, keys. What is kept is Vault's own
text, `vault:vN:…`, with N the version of the key; after a rotation in Vault older ones go on opening.
"""

import binascii
import re
from typing import Any, Final

from keyfs.core.secret import Secret
from keyfs.errors import MasterKeyUnavailable
from keyfs.master.vault_answers import DAMAGED, NO_ROUTE, NOT_FOUND, Answer
from keyfs.master.vault_client import Vault, connected
from keyfs.master.vault_settings import clean_path, parse_vault_uri

DEFAULT_MOUNT: Final = "transit"
KEY_TYPE: Final = "aes256-gcm96"
_SCHEME: Final = "vault-transit"
_WRAPPED: Final = re.compile(rb"vault:v[1-9][0-9]{0,8}:[A-Za-z0-9+/]+={0,2}")
_TAMPERED: Final = (DAMAGED, "invalid ciphertext")


class TransitKey:
    """Logs in anew for each call. The option `context` derives a key of its own (base64 is done here)."""

    def __init__(self, rest: str) -> None:
        path, self._settings, options = parse_vault_uri(_SCHEME, rest, ("context",), ("from",))
        mount, _, self._name = clean_path(_SCHEME, path).rpartition("/")
        self._mount = mount or DEFAULT_MOUNT
        context = options.get("context")
        self._context = None if context is None else _base64(context.encode())
        self._rest = rest

    def wrap(self, material: Secret) -> bytes:
        """See `KeyEncryptionKey.wrap`. The key must be there: Vault would make one for a token that may."""
        with connected(self._settings) as vault:
            found = self._look(vault)
            if not found.is_ok:
                raise self._absent(vault, found)
            answer = vault.ask(
                lambda client: client.secrets.transit.encrypt_data(
                    self._name,
                    plaintext=_base64(material.view()),
                    context=self._context,
                    mount_point=self._mount,
                )
            )
            if not answer.is_ok:
                raise self._refusal(vault, answer, "wrap a master key", "encrypt")
        text = answer.data().get("ciphertext")
        wrapped = text.encode("ascii", "replace") if isinstance(text, str) else b""
        if _WRAPPED.fullmatch(wrapped) is None:
            raise self._odd(vault)
        return wrapped

    def unwrap(self, text: bytes) -> Secret:
        """See `KeyEncryptionKey.unwrap`."""
        wrapped = b"".join(text.split())
        if _WRAPPED.fullmatch(wrapped) is None:
            raise MasterKeyUnavailable(
                "the wrapped master key is damaged or not Vault's: it begins with vault:v1: or a later "
                "version, and base64 follows"
            )
        with connected(self._settings) as vault:
            answer = vault.ask(
                lambda client: client.secrets.transit.decrypt_data(
                    self._name,
                    ciphertext=wrapped.decode("ascii"),
                    context=self._context,
                    mount_point=self._mount,
                )
            )
            if not answer.is_ok:
                raise self._refusal(vault, answer, "unwrap the master key", "decrypt")
        return self._plaintext(vault, answer)

    def create(self) -> str:
        """See `KeyEncryptionKey.create`. With `context` the key is one that derives others."""
        with connected(self._settings) as vault:
            found = self._look(vault)
            if found.is_ok:
                return f"{self._key_at(vault)} is there already and was left as it is"
            if found.status != NOT_FOUND or NO_ROUTE in found.said:
                raise self._absent(vault, found)
            made = vault.ask(
                lambda client: client.secrets.transit.create_key(
                    self._name,
                    derived=self._context is not None,
                    exportable=False,
                    allow_plaintext_backup=False,
                    key_type=KEY_TYPE,
                    mount_point=self._mount,
                )
            )
            if not made.is_ok:
                raise self._refusal(vault, made, "make it", "keys")
            return f"made {self._key_at(vault)} ({KEY_TYPE}, not exportable)"

    def describe(self) -> str:
        """The URI, which has no secret in it."""
        return f"{_SCHEME}:{self._rest}"

    def _look(self, vault: Vault) -> Answer:
        return vault.ask(lambda client: client.secrets.transit.read_key(self._name, mount_point=self._mount))

    def _key_at(self, vault: Vault) -> str:
        return f"Transit key {self._name!r} at {self._mount} in {vault.where}"

    def _absent(self, vault: Vault, found: Answer) -> MasterKeyUnavailable:
        if NO_ROUTE in found.said:
            return self._no_mount(vault)
        if found.status != NOT_FOUND:
            return self._refusal(vault, found, "see whether it is there", "keys")
        listed = vault.ask(lambda client: client.secrets.transit.list_keys(mount_point=self._mount))
        keys = listed.data().get("keys") if listed.is_ok else None
        names = [str(name)[:80] for name in keys if str(name).isprintable()] if isinstance(keys, list) else []
        known = f"; there are: {', '.join(names[:10])}" if names else ""
        return MasterKeyUnavailable(f"there is no {self._key_at(vault)}{known}")

    def _refusal(self, vault: Vault, answer: Answer, doing: str, action: str) -> MasterKeyUnavailable:
        key = self._key_at(vault)
        if NO_ROUTE in answer.said:
            return self._no_mount(vault)
        if any(phrase in answer.said for phrase in _TAMPERED):
            return MasterKeyUnavailable(
                f"the wrapped master key does not open with {key}: it is damaged, or another key's, or "
                f"another context's"
            )
        if "encryption key not found" in answer.said:
            return MasterKeyUnavailable(
                f"there is no {key}; name the one that the master key is wrapped with"
            )
        path = f"{self._mount}/{action}/{self._name}"
        return vault.refusal(
            answer, f"{doing} with {key}", f"check the key, and the token's rights on {path}"
        )

    def _no_mount(self, vault: Vault) -> MasterKeyUnavailable:
        return MasterKeyUnavailable(
            f"nothing is mounted at {self._mount} in {vault.where}; run: vault secrets enable "
            f"-path={self._mount} transit"
        )

    def _plaintext(self, vault: Vault, answer: Answer) -> Secret:
        text = answer.data().get("plaintext")
        try:
            material = Secret(binascii.a2b_base64(text, strict_mode=True)) if isinstance(text, str) else None
        except ValueError:
            material = None
        if material is None:
            raise self._odd(vault)
        return material

    def _odd(self, vault: Vault) -> MasterKeyUnavailable:
        return MasterKeyUnavailable(
            f"{self._key_at(vault)} gave no answer of Transit's; check mount and address="
        )


def _base64(material: Any) -> str:  # noqa: ANN401 - any buffer
    return binascii.b2a_base64(material, newline=False).decode("ascii")
