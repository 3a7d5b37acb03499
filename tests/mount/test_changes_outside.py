"""What others do to the key store shows at the next open and the next listing, whoever they are."""

import errno
import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from keyfs.core.names import parse_key_ref
from keyfs.core.secret import Secret
from keyfs.core.stamps import is_stamp
from keyfs.seal.keypair import generate_pair, public_from_private
from keyfs.testing.live import LiveStore, live_store
from keyfs.testing.mounted import run_keyfs
from keyfs.testing.waiting import wait_until


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, fuse_required: None) -> Iterator[LiveStore]:
    with live_store(tmp_path_factory.mktemp("outside")) as store:
        yield store


def stamps(directory: Path) -> list[str]:
    return sorted(name for name in os.listdir(directory) if is_stamp(name))


def sealed(live: LiveStore, label: str, material: bytes) -> bytes:
    with live.opened() as (keys, _):
        assert keys.protection is not None
        return keys.protection.seal(Secret(material), keys.layout.label(parse_key_ref(label), ""))


def rotate_as_acra(live: LiveStore, name: str, blob: bytes, stamp: str) -> None:
    """As Acra's tools do: a temporary beside the file, a hard link for the old one, a rename. No lock."""
    path, history = live.root / name, live.root / f"{name}.old"
    temporary = live.root / f"{name}1234567890"
    temporary.touch(0o600)
    temporary.write_bytes(blob)
    history.mkdir(0o700, exist_ok=True)
    os.link(path, history / stamp)
    temporary.rename(path)


def test_a_rotation_by_keyfs_itself(live: LiveStore) -> None:
    directory = live.make("storage/rotated")
    old = (directory / "current").read_bytes()
    for turn in range(1, 4):
        assert run_keyfs("rotate", "storage/rotated", environment=live.environment).returncode == 0
        new = (directory / "current").read_bytes()
        assert len(stamps(directory)) == turn
        assert (directory / stamps(directory)[-1]).read_bytes() == old
        assert (directory / "current.pub").read_bytes() == public_from_private(Secret(new))
        old = new


def test_a_rotation_as_acra_does_it(live: LiveStore) -> None:
    directory = live.make("storage-sym/acra1", b"a" * 32)
    current = directory / "current"
    for turn, material in enumerate([b"b" * 32, b"c" * 32, b"d" * 32], 1):
        before = current.stat()
        rotate_as_acra(
            live,
            "acra1_storage_sym",
            sealed(live, "storage-sym/acra1", material),
            f"2026-01-0{turn}T00:00:00.{turn}",
        )
        assert current.read_bytes() == material
        after = current.stat()
        assert after.st_mtime_ns > before.st_mtime_ns
        assert after.st_ino == before.st_ino
        assert stamps(directory) == [f"2026-01-0{n}T00:00:00.{n}" for n in range(1, turn + 1)]
    assert (directory / "2026-01-01T00:00:00.1").read_bytes() == b"a" * 32


def test_a_pair_that_acra_is_half_way_through_rotating(live: LiveStore) -> None:
    """The public half shown is always that of the private half shown."""
    directory = live.make("storage/acra2")
    private, public = generate_pair()
    rotate_as_acra(
        live, "acra2_storage", sealed(live, "storage/acra2", private.reveal()), "2026-01-01T00:00:00.1"
    )
    assert (directory / "current").read_bytes() == private.reveal()
    assert (directory / "current.pub").read_bytes() == public
    rotate_as_acra(live, "acra2_storage.pub", public, "2026-01-01T00:00:00.2")
    assert (directory / "current.pub").read_bytes() == public
    old = Secret((directory / "2026-01-01T00:00:00.1").read_bytes())
    assert (directory / "2026-01-01T00:00:00.1.pub").read_bytes() == public_from_private(old)


def test_a_file_that_is_written_anew_in_place(live: LiveStore) -> None:
    current = live.make("storage-sym/in-place", b"a" * 32) / "current"
    (live.root / "in-place_storage_sym").write_bytes(sealed(live, "storage-sym/in-place", b"b" * 32))
    assert current.read_bytes() == b"b" * 32


def _is_gone(path: Path) -> bool:
    return not path.exists()


def test_a_new_key_and_its_end(live: LiveStore) -> None:
    client = live.mountpoint / "hmac-sym/fleeting"
    assert not client.exists()
    live.make("hmac-sym/fleeting")
    assert os.listdir(client.parent) == ["fleeting"]
    assert len((client / "current").read_bytes()) == 32
    (live.root / "fleeting_hmac").unlink()
    assert os.listdir(client.parent) == []
    for name in ("", "current", "rotate"):
        wait_until(partial(_is_gone, client / name))


def test_a_version_that_is_destroyed(live: LiveStore) -> None:
    for _ in range(3):
        directory = live.make("storage/destroyed")
    first, second = stamps(directory)
    assert run_keyfs("destroy", f"storage/destroyed/{first}", environment=live.environment).returncode == 0
    assert stamps(directory) == [second]
    with pytest.raises(FileNotFoundError):
        (directory / f"{first}.pub").read_bytes()


def test_a_history_that_is_removed_as_a_whole(live: LiveStore) -> None:
    for _ in range(3):
        directory = live.make("storage-sym/forgotten")
    shutil.rmtree(live.root / "forgotten_storage_sym.old")
    assert stamps(directory) == []
    assert len((directory / "current").read_bytes()) == 32


def test_an_open_file_keeps_its_bytes_when_the_key_is_deleted(live: LiveStore) -> None:
    directory = live.make("storage-sym/held1", b"h" * 32)
    with open(directory / "current", "rb", buffering=0) as key:
        (live.root / "held1_storage_sym").unlink()
        assert key.read() == b"h" * 32
        wait_until(lambda: not directory.exists())


def test_a_key_that_is_damaged_fails_alone_and_comes_back(live: LiveStore) -> None:
    damaged = live.make("storage-sym/damaged", b"d" * 32) / "current"
    sound = live.make("storage-sym/sound", b"s" * 32) / "current"
    stored = live.root / "damaged_storage_sym"
    blob = stored.read_bytes()
    stored.write_bytes(blob[:-1] + bytes([blob[-1] ^ 1]))
    with pytest.raises(OSError, match=os.strerror(errno.EBADMSG)):
        damaged.read_bytes()
    assert sound.read_bytes() == b"s" * 32
    stored.write_bytes(blob)
    assert damaged.read_bytes() == b"d" * 32


def test_a_private_half_that_is_open_to_others_is_refused_as_acra_refuses_it(live: LiveStore) -> None:
    current = live.make("storage/opened") / "current"
    (live.root / "opened_storage").chmod(0o644)
    with pytest.raises(PermissionError):
        current.read_bytes()
    assert live.logged("request.failed", "EACCES", "chmod 600")
    (live.root / "opened_storage").chmod(0o600)
    assert len(current.read_bytes()) == 45


def test_the_inventory_and_the_status_follow(live: LiveStore) -> None:
    before = (live.mountpoint / ".keyfs/inventory.tsv").read_text()
    live.make("storage-sym/counted")
    after = (live.mountpoint / ".keyfs/inventory.tsv").read_text()
    assert set(after.splitlines()) - set(before.splitlines()) == {
        line for line in after.splitlines() if "\tcounted\t" in line
    }
    (live.root / "stray").touch()
    assert "\nstrays: 1\n" in (live.mountpoint / ".keyfs/status").read_text()
    (live.root / "stray").unlink()
    assert "\nstrays: 0\n" in (live.mountpoint / ".keyfs/status").read_text()
