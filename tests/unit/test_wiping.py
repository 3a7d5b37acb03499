"""Key material is overwritten as soon as nobody needs it: what this process keeps, a memory dump shows."""

import pytest

from keyfs.broker.snapshot import Snapshot
from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.core.secret import Secret
from keyfs.core.staging import StagedWrite
from keyfs.core.tree import Facts, key_node
from keyfs.errors import UnsealFailed
from keyfs.fs.handles import Handles, ReadHandle, WriteHandle
from keyfs.seal.pure import PureSealer
from keyfs.testing.builders import (
    EVERY_REF,
    MASTER_KEY,
    STORAGE,
    STORAGE_SYM,
    broker_on,
    full_medium,
    in_memory,
    new_material,
)
from keyfs.testing.medium import Medium

FACTS = Facts(0o600, 32, 0)
NODE = key_node(STORAGE_SYM, CURRENT, Half.SECRET)


class RememberingSealer(PureSealer):
    """Keeps every secret that went through it, to see what became of it."""

    def __init__(self) -> None:
        super().__init__(Secret(MASTER_KEY))
        self.sealed: list[Secret] = []
        self.unsealed: list[Secret] = []
        self.is_deaf = False

    def seal(self, plaintext: Secret, context: bytes) -> bytes:
        self.sealed.append(plaintext)
        return super().seal(plaintext, context + b"!" * self.is_deaf)

    def unseal(self, blob: bytes, context: bytes) -> Secret:
        secret = super().unseal(blob, context)
        self.unsealed.append(secret)
        return secret


def is_wiped(secret: Secret) -> bool:
    return not any(secret.view())


@pytest.mark.parametrize("ref", EVERY_REF, ids=str)
def test_after_a_change_no_material_is_left(ref: KeyRef) -> None:
    sealer = RememberingSealer()
    keys = in_memory(full_medium(), sealer=sealer)
    keys.writer.rotate(ref)
    for _ in range(2):
        keys.writer.import_material(ref, material := new_material(ref, 7))
        keys.writer.import_material(ref, material)
    assert len(sealer.sealed) >= 2
    assert all(map(is_wiped, [*sealer.sealed, *sealer.unsealed]))


@pytest.mark.parametrize("ref", EVERY_REF, ids=str)
def test_after_a_refused_change_no_material_is_left(ref: KeyRef) -> None:
    sealer = RememberingSealer()
    keys = in_memory(full_medium(), sealer=sealer)
    sealer.is_deaf = True
    with pytest.raises(UnsealFailed):
        keys.writer.rotate(ref)
    assert sealer.sealed
    assert all(map(is_wiped, sealer.sealed))


def test_what_proves_a_legacy_name_is_wiped() -> None:
    medium = Medium()
    sealer = RememberingSealer()
    medium.put("bobby", sealer.seal(Secret(new_material(STORAGE)), b"bobby"))
    assert len(in_memory(medium, legacy=True, sealer=sealer).keys.index) == 1
    assert sealer.unsealed
    assert all(map(is_wiped, sealer.unsealed))


def test_the_private_half_is_wiped_when_its_public_half_is_known() -> None:
    sealer = RememberingSealer()
    keys = in_memory(full_medium(), sealer=sealer)
    assert keys.public(STORAGE)
    assert sealer.unsealed
    assert all(map(is_wiped, sealer.unsealed))


def test_a_handle_is_wiped_when_it_is_closed() -> None:
    handles = Handles()
    content, staged = Secret(b"k" * 32), StagedWrite(32)
    staged.write(0, b"k" * 32)
    handles.remove(handles.add(ReadHandle(NODE, 2, 1, Snapshot(content, FACTS), 0.0)))
    handles.remove(handles.add(WriteHandle(NODE, staged, FACTS)))
    assert is_wiped(content)
    assert not any(staged.buffer)


async def test_what_an_edit_starts_from_is_wiped_but_in_its_buffer() -> None:
    sealer = RememberingSealer()
    keys = in_memory(full_medium(), sealer=sealer)
    material = new_material(STORAGE_SYM, 7)
    keys.writer.import_material(STORAGE_SYM, material)
    staged = await broker_on(keys.keys, keys.writer).changes.stage(NODE, truncate=False)
    assert bytes(staged.buffer) == material
    assert all(map(is_wiped, sealer.unsealed))
