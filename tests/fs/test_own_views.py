"""The handlers in process: own purposes have the views that their kind can have, and owners of their own."""

import stat
import tomllib
from collections.abc import Iterator
from contextlib import closing

import msgspec
import pytest
from kernel import OTHER, Kernel, kernel_on, refused

from keyfs.config import FileSettings
from keyfs.core.policy import Ownership, Policy
from keyfs.core.views import View
from keyfs.rules import Mounted, policy_of
from keyfs.store.annex import Present
from keyfs.store.joined import JoinedStore
from keyfs.testing.builders import Keys
from keyfs.testing.medium import Medium
from keyfs.testing.memory_store import MemoryStore
from keyfs.testing.own import PURPOSES, own_ref, with_own

WWW = "www.example.org"
RULED = """
[purpose.token]
kind = "opaque"
owner = 4301
mode = "0640"

[purpose.db]
kind = "password"
owner = 4302
views = "all"

[[rule]]
purpose = "token"
client = "*.example.org"
owner = 4303
"""


@pytest.fixture
def keys() -> Iterator[Keys]:
    keys = with_own(JoinedStore(MemoryStore(Medium()), Present(MemoryStore(Medium()))))
    with closing(keys.keys):
        for name in ("tls", "db", "token", "aes"):
            keys.writer.generate(own_ref(name))
        keys.keys.watch()
        yield keys


@pytest.fixture
def kernel(keys: Keys) -> Kernel:
    return kernel_on(keys, policy=Policy(views=frozenset(View)))


@pytest.mark.parametrize(
    ("purpose", "forms"),
    [("tls", ["fp"]), ("db", ["b64"]), ("token", ["b64", "hex"]), ("aes", ["b64", "hex"])],
)
async def test_each_kind_has_the_views_that_it_can_have(
    kernel: Kernel, keys: Keys, purpose: str, forms: list[str]
) -> None:
    path = f"{purpose}/{WWW}"
    listed = await kernel.names(path)
    assert listed == [".", "..", "current", *(f"current.{form}" for form in forms), "rotate"]
    for form in forms:
        attr = await kernel.lookup(f"{path}/current.{form}")
        assert len(await kernel.read(f"{path}/current.{form}")) == attr.st_size
        assert stat.S_IMODE(attr.st_mode) == (0o444 if form == "fp" else 0o400)
    if "hex" in forms:
        assert bytes.fromhex((await kernel.read(f"{path}/current.hex")).decode()) == keys.secret(
            own_ref(purpose)
        )
    for form in sorted({"b64", "hex", "pem", "fp", "pub.hex", "pub.fp"} - set(forms)):
        with refused("ENOENT"):
            await kernel.lookup(f"{path}/current.{form}")


async def test_everybody_may_know_the_fingerprint_of_a_pem(kernel: Kernel) -> None:
    other = kernel.called_by(uid=OTHER, gid=OTHER)
    shown = (await other.read(f"tls/{WWW}/current.fp")).decode()
    inode = await other.inode(f"tls/{WWW}/current")
    said = await other.operations.getxattr(inode, b"user.keyfs.fingerprint", other.ctx)
    assert shown == said.decode() + "\n"


async def test_a_pem_without_a_key_to_be_seen_has_no_fingerprint(kernel: Kernel, keys: Keys) -> None:
    keys.writer.import_material(
        own_ref("cert"), b"-----BEGIN DH PARAMETERS-----\nAAEC\n-----END DH PARAMETERS-----\n"
    )
    keys.keys.refresh()
    with refused("ENOENT"):
        await kernel.read(f"cert/{WWW}/current.fp")
    inode = await kernel.inode(f"cert/{WWW}/current")
    with refused("ENODATA"):
        await kernel.operations.getxattr(inode, b"user.keyfs.fingerprint", kernel.ctx)


async def test_a_purpose_says_who_owns_its_keys_and_a_rule_makes_exceptions(keys: Keys) -> None:
    settings = msgspec.convert(tomllib.loads(RULED), FileSettings)
    policy = policy_of(
        settings.rules(), frozenset(), Mounted(Ownership(0, 0), allow_other=True, purposes=[*PURPOSES])
    )
    keys.writer.generate(own_ref("token", "elsewhere"))
    kernel = kernel_on(keys, policy=policy)
    found = {}
    for path in (f"token/{WWW}", "token/elsewhere", f"db/{WWW}"):
        attr = await kernel.lookup(f"{path}/current")
        found[path] = (attr.st_uid, stat.S_IMODE(attr.st_mode))
    assert found == {
        f"token/{WWW}": (4303, 0o640),
        "token/elsewhere": (4301, 0o640),
        f"db/{WWW}": (4302, 0o600),
    }
    assert "current.b64" in await kernel.names(f"db/{WWW}")
    assert "current.b64" not in await kernel.names(f"token/{WWW}")
