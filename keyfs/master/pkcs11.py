"""`pkcs11:token=T;object=LABEL?module-path=SO&pin-source=FILE`: a key in an HSM, on python-pkcs11.

The wrapped text is base64 of a nonce of 12 bytes, the AES-GCM ciphertext and its tag of 16 bytes; the
associated data is `ASSOCIATED_DATA`.
"""

import binascii
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, TokenFlag, exceptions

from keyfs.core.secret import Secret
from keyfs.custody import held, wipe_immutable
from keyfs.errors import InvalidSettings, MasterKeyUnavailable
from keyfs.master.file import OTHERS, close_to_others, read_private
from keyfs.master.go_decoders import LINE_BREAKS, from_base64
from keyfs.master.pkcs11_errors import UNOPENED, translated
from keyfs.master.pkcs11_uri import Pkcs11URI, parse_pkcs11_uri

if TYPE_CHECKING:
    from pkcs11._pkcs11 import lib

ASSOCIATED_DATA: Final = b"keyfs master key"
_NONCE_SIZE: Final = 12
_TAG_SIZE: Final = 16
_KEY_BITS: Final = 256
_AES_USES: Final = MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT

# A module has one state for the process: it is started for each call and stopped behind it, so that nothing
# of it is left for a forked child, nobody stays logged in, and a token that came meanwhile is seen.
_one_at_a_time: Final = threading.Lock()


class _AESKey(Protocol):
    """What is used of a key of python-pkcs11."""

    def encrypt(self, data: bytes, *, mechanism: Mechanism, mechanism_param: object) -> bytes: ...

    def decrypt(self, data: bytes, *, mechanism: Mechanism, mechanism_param: object) -> bytes: ...


class Pkcs11Key:
    """An AES key in a token. See `keyfs.master.base.KeyEncryptionKey` for every method."""

    def __init__(self, rest: str) -> None:
        self._uri = parse_pkcs11_uri(rest)

    def wrap(self, material: Secret) -> bytes:
        """One line of base64."""
        nonce = os.urandom(_NONCE_SIZE)
        with self._session() as session:
            key = self._find(session)
            plaintext = material.reveal()
            try:
                sealed = key.encrypt(plaintext, mechanism=Mechanism.AES_GCM, mechanism_param=_gcm(nonce))
            finally:
                wipe_immutable(plaintext)
        return binascii.b2a_base64(nonce + sealed, newline=False)

    def unwrap(self, text: bytes) -> Secret:
        """What was wrapped."""
        blob = from_base64(text)
        if blob is None or len(blob) <= _NONCE_SIZE + _TAG_SIZE:
            raise MasterKeyUnavailable(
                f"{self.describe()}: the wrapped master key is damaged, or was not wrapped by this key"
            )
        nonce, sealed = blob.reveal()[:_NONCE_SIZE], blob.reveal()[_NONCE_SIZE:]
        with self._session() as session:
            key = self._find(session)
            try:
                plaintext = key.decrypt(sealed, mechanism=Mechanism.AES_GCM, mechanism_param=_gcm(nonce))
            except UNOPENED:
                raise MasterKeyUnavailable(
                    f"{self.describe()} does not open the wrapped master key: that is damaged, or another "
                    f"key's"
                ) from None
            material = held(plaintext)
            wipe_immutable(plaintext)
            return material

    def create(self) -> str:
        """Make an AES-256 key that cannot be read out of the token."""
        with self._session(writable=True) as session:
            token = session.token.label
            if list(session.get_objects(_template(self._uri))):
                self._find(session)
                return f"key {self._uri.key_words} is in token {token!r} already"
            session.generate_key(
                KeyType.AES,
                _KEY_BITS,
                label=self._uri.label,
                id=self._uri.key_id,
                store=True,
                capabilities=_AES_USES,
                template={Attribute.PRIVATE: True, Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
            )
            return f"made AES-256 key {self._uri.key_words} in token {token!r}"

    def describe(self) -> str:
        """The URI without its options."""
        return self._uri.shown

    @contextmanager
    def _session(self, *, writable: bool = False) -> Iterator[pkcs11.Session]:
        with self._module() as module:
            session = self._open(self._token(module), writable)
            try:
                yield session
            finally:
                with suppress(exceptions.PKCS11Error):  # with the module it ends in any case
                    session.close()

    @contextmanager
    def _module(self) -> Iterator["lib"]:
        with _one_at_a_time, translated(self._uri):
            module = self._load()
            try:
                yield module
            finally:
                with suppress(exceptions.PKCS11Error):
                    module.finalize()

    def _load(self) -> "lib":
        try:
            return pkcs11.lib(self._uri.module)
        except exceptions.PKCS11Error as exc:
            if type(exc) is not exceptions.PKCS11Error:  # it was loaded, and then said no
                raise
            reason = str(exc).rpartition(": ")[2]  # dlerror(3)
        raise InvalidSettings(
            f"PKCS#11 module {self._uri.module} cannot be loaded ({reason}); correct module-path"
        )

    def _token(self, module: "lib") -> pkcs11.Token:
        tokens = [token for token in module.get_tokens() if token.flags & TokenFlag.TOKEN_INITIALIZED]
        found = [token for token in tokens if _matches(token, self._uri.token)]
        if len(found) == 1:
            return found[0]
        serials = ", ".join(sorted(f"{token.label!r} (serial {_serial(token)})" for token in found or tokens))
        if found:
            raise MasterKeyUnavailable(
                f"{self.describe()} fits several tokens; add serial= of one: {serials}"
            )
        raise MasterKeyUnavailable(
            f"{self.describe()}: there is no such token; those there are: {serials or 'none at all'}"
        )

    def _open(self, token: pkcs11.Token, writable: bool) -> pkcs11.Session:
        if self._uri.pin_file is None:
            return token.open(rw=writable)
        pin = _pin(self._uri.pin_file)
        try:
            return token.open(rw=writable, user_pin=pin)
        finally:
            wipe_immutable(pin)

    def _find(self, session: pkcs11.Session) -> _AESKey:
        found = list(session.get_objects(_template(self._uri)))
        usable = [key for key in found if _is_usable(key)]
        what = f"token {session.token.label!r}"
        if len(usable) > 1:
            raise MasterKeyUnavailable(f"{what} has several AES keys {self._uri.key_words}; name one by id=")
        if usable:
            return cast("_AESKey", usable[0])
        if found:
            raise MasterKeyUnavailable(
                f"{self._uri.key_words} in {what} is no AES key that may encrypt and decrypt"
            )
        labels = sorted({repr(key[Attribute.LABEL]) for key in session.get_objects() if _is_usable(key)})
        login = "" if self._uri.pin_file else ", without pin-source=FILE"
        raise MasterKeyUnavailable(
            f"{what} has no key {self._uri.key_words}{login}; AES keys there: {', '.join(labels) or 'none'}"
        )


def _gcm(nonce: bytes) -> pkcs11.GCMParams:
    return pkcs11.GCMParams(nonce, ASSOCIATED_DATA, _TAG_SIZE * 8)


def _template(uri: Pkcs11URI) -> dict[Attribute, Any]:
    template: dict[Attribute, Any] = {}
    if uri.label is not None:
        template[Attribute.LABEL] = uri.label
    if uri.key_id is not None:
        template[Attribute.ID] = uri.key_id
    return template


def _matches(token: pkcs11.Token, wanted: Mapping[str, str]) -> bool:
    """Whether *token* has all attributes *wanted*, as RFC 7512 compares them."""
    has = {
        "token": token.label,
        "manufacturer": token.manufacturer_id,
        "serial": _serial(token),
        "model": token.model,
        "slot-id": str(token.slot.slot_id),
    }
    return all(has[name] == value for name, value in wanted.items())


def _serial(token: pkcs11.Token) -> str:
    return token.serial.decode("utf-8", "replace").rstrip(" \0")


def _is_usable(key: object) -> bool:
    is_secret = isinstance(key, pkcs11.SecretKey) and key.key_type == KeyType.AES
    return is_secret and isinstance(key, pkcs11.EncryptMixin) and isinstance(key, pkcs11.DecryptMixin)


def _pin(path: str) -> str:
    """The PIN in a file, without the end of its line.

    Raises:
        MasterKeyUnavailable, InsecurePermissions: as `read_private`.
    """
    with read_private(path, f"PIN file {path}", OTHERS, close_to_others(path)) as text:
        view = text.view()
        while view and view[-1] in LINE_BREAKS:  # no copy: the PIN is a secret, too
            view = view[:-1]
        return str(view, "utf-8", "replace")
