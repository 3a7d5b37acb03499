"""A store, a way to Transit of a Vault double, and `keyfs master-key` there: what it says shows no key."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from command_line import Ran, keyfs

from keyfs.core.secret import Secret
from keyfs.master.base import MasterKey
from keyfs.master.encoding import encode_v1, encode_v2
from keyfs.testing import canary
from keyfs.testing.vault_access import Token
from keyfs.testing.vault_double import VaultDouble
from keyfs.testing.vault_engines import Transit, TransitKeyDouble

TOKEN = "hvs.CAESIJ0tokenOfTheTests4fJq7Zx2"
V1 = MasterKey(Secret(canary.MASTER_KEY), None)
V2 = MasterKey(Secret(canary.MASTER_KEY), Secret(canary.SYMMETRIC))
TEXTS = {"v1": encode_v1(V1.encryption).decode(), "v2": encode_v2(V2).decode()}


@contextmanager
def transit_vault() -> Iterator[VaultDouble]:
    """With the key `acra` in Transit."""
    with VaultDouble() as vault:
        vault.mounts["transit"] = Transit({"acra": TransitKeyDouble()})
        vault.access.tokens[TOKEN] = Token()
        yield vault


def transit(vault: VaultDouble) -> Transit:
    found = vault.mounts["transit"]
    assert isinstance(found, Transit)
    return found


def site(vault: VaultDouble, place: Path) -> dict[str, str]:
    """The environment of an empty key store below *place*, with a way to *vault* and nothing of ours."""
    made = {
        "KEYFS_STORE": f"dir:{place}/keys",
        "VAULT_ADDR": vault.address,
        "VAULT_API_TOKEN": base64.b64encode(TOKEN.encode()).decode(),
        "HOME": str(place),
    }
    assert keyfs("init", environment=made).code == 0
    return made


def master_key(*words: str, environment: dict[str, str], code: int = 0) -> Ran:
    ran = keyfs("master-key", *words, environment=environment)
    assert ran.code == code, ran.err
    assert canary.found_in(ran.out) == canary.found_in(ran.err) == []
    return ran
