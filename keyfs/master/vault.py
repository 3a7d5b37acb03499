"""`vault:PATH?…`: the master key as a field of a secret in Vault's key-value store, where Acra looks for it.

As Acra's `vault_master_key`: `sys/internal/ui/mounts` tells which mount the path is in and which version of
the store that is (`options.version`, "1" when options is null); version 1 is read at the path as given,
version 2 at mount + `data` + rest; the field `acra_master_key` holds what ACRA_MASTER_KEY would. Beyond Acra:
mounts with a slash in their name, another field, an older version of a secret, and `kv=` where the list of
mounts is forbidden (the mount is then the first part of the path).
"""

from collections.abc import Mapping
from typing import Any, Final

from keyfs.errors import InvalidSettings, MasterKeyUnavailable
from keyfs.master.base import MasterKey
from keyfs.master.encoding import decode
from keyfs.master.vault_answers import NOT_FOUND, Answer
from keyfs.master.vault_client import Vault, connected
from keyfs.master.vault_settings import clean_path, parse_vault_uri

FIELD: Final = "acra_master_key"
_SCHEME: Final = "vault"
_VERSION_MAX: Final = 9  # digits


class VaultMasterKey:
    """Logs in and reads the secret anew at each fetch."""

    def __init__(self, rest: str, layout: str) -> None:
        path, self._settings, options = parse_vault_uri(_SCHEME, rest, ("field", "version", "kv"))
        self._path = clean_path(_SCHEME, path)
        self._field = options.get("field", FIELD)
        self._version = options.get("version")
        self._kv = options.get("kv")
        if self._kv not in (None, "1", "2"):
            raise InvalidSettings("'vault:' has kv=1 or kv=2, the version of the key-value store")
        if self._version is not None and not _is_version(self._version):
            raise InvalidSettings("'vault:' has version=N, the number of a version of the secret, from 1 on")
        self._rest = rest
        self._layout = layout

    def fetch(self) -> MasterKey:
        """The key in the secret's field.

        Raises:
            MasterKeyUnavailable: no such mount, secret, version or field; no permission; the value does not
                decode.
            KeyServiceUnavailable: Vault is sealed, busy, failing or silent.
            InvalidSettings, InsecurePermissions: as `Vault.login`; or an option does not fit what is there.
        """
        with connected(self._settings) as vault:
            text = self._text(vault)
        source = f"field {self._field!r} of {self._path} in {vault.where}"
        key = decode(text.encode("utf-8", "surrogatepass"), self._layout, source)
        if not self._settings.is_readable_on_the_way:
            return key
        warning = f"{vault.where} is asked without TLS: the network can read its token and the master key"
        return MasterKey(key.encryption, key.signature, (*key.warnings, warning))

    def describe(self) -> str:
        """The URI, which has no secret in it."""
        return f"{_SCHEME}:{self._rest}"

    def _text(self, vault: Vault) -> str:
        mount, version = self._place(vault)
        if self._version is not None and version == "1":
            raise InvalidSettings(
                f"{mount} is a key-value store 1, which keeps one version: leave out version="
            )
        below = self._path.removeprefix(mount).strip("/")
        if not below:
            raise InvalidSettings(
                f"'vault:{self._path}' is a whole mount: name a secret in it, as {mount}/acra"
            )
        answer = vault.ask(lambda client: _read(client, mount, below, version, self._version))
        if not answer.is_ok:
            raise self._refusal(vault, answer, mount, version)
        fields = answer.data()
        if version == "2":
            inner = fields.get("data")
            fields = inner if isinstance(inner, dict) else {}
        return self._value(fields, vault)

    def _place(self, vault: Vault) -> tuple[str, str]:
        """The mount that the path is in, without a slash at its end, and the version of its store."""
        if self._kv is not None:
            return self._path.partition("/")[0], self._kv
        answer = vault.ask(lambda client: client.adapter.get("/v1/sys/internal/ui/mounts"))
        if not answer.is_ok:
            advice = "allow that, or say with kv=1 or kv=2 which version of the key-value store it is"
            raise vault.refusal(answer, "read sys/internal/ui/mounts", advice)
        mounts = _mounts(answer)
        inside = [name for name in mounts if f"{self._path}/".startswith(f"{name}/")]
        if not inside:
            raise MasterKeyUnavailable(
                f"no mount that this token may use is the beginning of {self._path} in {vault.where}; "
                f"{_listed('key-value stores', [name for name in mounts if _kind(mounts[name]) == 'kv'])}"
            )
        mount = max(inside, key=len)
        if _kind(mounts[mount]) != "kv":
            raise MasterKeyUnavailable(
                f"{mount} in {vault.where} is no key-value store, but of type {_kind(mounts[mount])!r}; name "
                f"a secret in one"
            )
        return mount, _store_version(mounts[mount])

    def _refusal(self, vault: Vault, answer: Answer, mount: str, version: str) -> MasterKeyUnavailable:
        what = f"{self._path} (key-value store {version})"
        metadata = answer.data().get("metadata")
        if answer.status == NOT_FOUND and isinstance(metadata, dict):
            state = "destroyed" if metadata.get("destroyed") is True else "deleted"
            mend = "put it there again" if state == "destroyed" else "run: vault kv undelete"
            number = metadata.get("version")
            return MasterKeyUnavailable(
                f"version {number if isinstance(number, int) else '?'} of {self._path} in {vault.where} is "
                f"{state}: {mend}, or name another with version=N"
            )
        if answer.status != NOT_FOUND:
            return vault.refusal(
                answer, f"read {what}", f"allow read on {_api_path(self._path, mount, version)}"
            )
        hints = [f"put the master key there in the field {self._field!r}, or name the right path"]
        if self._path.startswith(f"{mount}/data/") and version == "2":
            hints.append("the path is that of 'vault kv get', without data/")
        if self._kv is not None:
            hints.append(f"is {mount} really a key-value store {version}, as kv= says?")
        return MasterKeyUnavailable(f"there is no {what} in {vault.where}; " + "; ".join(hints))

    def _value(self, fields: Mapping[str, Any], vault: Vault) -> str:
        value = fields.get(self._field)
        where = f"{self._path} in {vault.where}"
        if self._field not in fields:
            raise MasterKeyUnavailable(
                f"{where} has no field {self._field!r}; {_listed('fields', sorted(fields))}; name one with "
                f"field="
            )
        if not isinstance(value, str):
            raise MasterKeyUnavailable(
                f"field {self._field!r} of {where} is no text; put the base64 text there"
            )
        return value


# hvac, with the client handed in, so that the path is quoted in one place.
def _read(client: Any, mount: str, below: str, version: str, number: str | None) -> Any:  # noqa: ANN401 - hvac
    if version == "1":
        return client.secrets.kv.v1.read_secret(below, mount_point=mount)
    return client.secrets.kv.v2.read_secret_version(
        below, version=number, mount_point=mount, raise_on_deleted_version=True
    )


def _mounts(answer: Answer) -> dict[str, Mapping[str, Any]]:
    """The secrets engines by their paths without slashes around."""
    mounts = (answer.data() or answer.document).get("secret")
    found = mounts.items() if isinstance(mounts, dict) else ()
    return {name.strip("/"): mount for name, mount in found if isinstance(mount, dict)}


def _kind(mount: Mapping[str, Any]) -> str:
    return str(mount.get("type"))


def _store_version(mount: Mapping[str, Any]) -> str:
    options = mount.get("options")
    version = options.get("version") if isinstance(options, dict) else None
    return "2" if version == "2" else "1"


def _is_version(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _VERSION_MAX and int(text) > 0


def _api_path(path: str, mount: str, version: str) -> str:
    return path if version == "1" else f"{mount}/data{path.removeprefix(mount)}"


def _listed(what: str, names: list[str]) -> str:
    shown = [name[:80] for name in names if name.isprintable()][:10]
    return f"these {what} exist: {', '.join(shown)}" if shown else f"there are no {what}"
