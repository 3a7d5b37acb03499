"""Two changes of the master key, and a reader that looked only before the first."""

from pathlib import Path

from dying import MASTER

from keyfs.broker.keystore import KeyStore
from keyfs.broker.rekey import RekeyReport, rekey
from keyfs.broker.writer import RingWriter
from keyfs.core.names import CURRENT, Half, parse_key_ref
from keyfs.core.secret import Secret
from keyfs.layout.v1 import LayoutV1
from keyfs.seal.protection import CellProtection, Protections
from keyfs.seal.registry import open_sealer
from keyfs.store.directory import DirectoryStore

FIRST, SECOND, THIRD = (CellProtection(open_sealer(Secret(MASTER + bytes([number])))) for number in range(3))
REF = parse_key_ref("storage-sym/alice")


def opened(root: Path, *members: CellProtection) -> KeyStore:
    keys = KeyStore(DirectoryStore(root), LayoutV1(), Protections(members))
    keys.load()
    return keys


def test_a_file_that_got_its_old_inode_back_is_read_as_it_is_now(tmp_path: Path) -> None:
    """On a disk, the second new file has the inode number of the first one of all, its time and its size."""
    root = tmp_path / "keys"
    root.mkdir(0o700)
    RingWriter(opened(root, FIRST)).generate(REF)
    reader = opened(root, SECOND, FIRST)
    before = reader.read(REF, CURRENT, Half.SECRET)[0].material.reveal()
    for new, old in ((SECOND, FIRST), (THIRD, SECOND)):
        rekey(opened(root, new, old), new, RekeyReport())
        reader.reload()
    assert reader.protection is not None
    reader.protection.members = (THIRD, SECOND)
    assert reader.read(REF, CURRENT, Half.SECRET)[0].material.reveal() == before
