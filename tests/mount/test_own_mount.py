"""Own purposes in a mount: imported, rotated, read, refused as declared; Acra's part of the store stays."""

import errno
import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from own_files import PEM, history, stamps

from keyfs.testing.live import LiveStore, live_store
from keyfs.testing.mounted import run_keyfs
from keyfs.testing.own import DECLARED
from keyfs.testing.waiting import wait_until
from keyfs.testing.watched import watching

CONFIG = (
    DECLARED
    + """
[purpose.line]
kind = "opaque"
newline = "reject"
"""
)
Fingerprint = dict[str, tuple[bytes, int, int, int]]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, fuse_required: None) -> Iterator[LiveStore]:
    with live_store(tmp_path_factory.mktemp("own"), config=CONFIG) as store:
        store.make("storage/alice1")
        store.make("storage/alice1")
        before = fingerprint(store.root)
        yield store
        assert fingerprint(store.root) == before, "Acra's part of the key store was touched"


def fingerprint(root: Path) -> Fingerprint:
    """Every name in the key store, with what is behind it."""
    found = {}
    for path in (root, *root.rglob("*")):
        facts = path.lstat()
        data = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (data, facts.st_ino, facts.st_mode, facts.st_mtime_ns)
    return found


def new_client(live: LiveStore, label: str, data: bytes) -> Path:
    """A client made through the mount, and its first version."""
    directory = live.mountpoint / label
    directory.mkdir()
    (directory / "current").write_bytes(data)
    return directory


def refused(path: Path, data: bytes, *, at: str) -> int:
    """The errno of writing *data* anew, which comes from open(2), write(2) or close(2)."""
    step = "open"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
        step = "write"
        try:
            os.write(fd, data)
            step = "close"
        finally:
            os.close(fd)
    except OSError as exc:
        first = exc.__context__ if isinstance(exc.__context__, OSError) else exc
        assert step == at
        return first.errno or 0
    return 0


def test_declared_purposes_are_there_without_keys(live: LiveStore) -> None:
    names = set(os.listdir(live.mountpoint))
    assert {"tls", "cert", "db", "token", "aes", "site", "line", "storage", ".keyfs"} <= names
    assert os.listdir(live.mountpoint / "cert") == []
    assert not (live.mountpoint / "other").exists()


def test_a_pem_is_imported_rotated_and_read_back(live: LiveStore) -> None:
    directory = new_client(live, "tls/www.example.org", PEM)
    current = directory / "current"
    assert current.read_bytes() == PEM
    assert (current.stat().st_size, current.stat().st_mode & 0o777) == (len(PEM), 0o600)
    assert sorted(os.listdir(directory)) == ["current", "rotate"]
    before = current.stat()
    subprocess.run(["sh", "-c", 'echo > "$0"', directory / "rotate"], check=True)
    made = current.read_bytes()
    assert load_pem_private_key(made, None)
    after = current.stat()
    assert (after.st_ino, after.st_size) == (before.st_ino, len(made))
    assert after.st_mtime_ns > before.st_mtime_ns
    assert history(directory) == [PEM, made]
    [retired] = stamps(directory)
    assert (directory / retired).stat().st_mtime_ns == before.st_mtime_ns
    assert (directory / retired).stat().st_mode & 0o777 == 0o400
    current.write_bytes(PEM)
    current.write_bytes(PEM)
    assert history(directory) == [PEM, made, PEM]


def test_commands_that_replace_a_file_make_one_version_each(live: LiveStore, tmp_path: Path) -> None:
    directory = new_client(live, "line/one", b"0")
    current, new = directory / "current", tmp_path / "new"
    for number, command in enumerate(
        [["cp"], ["cp", "--remove-destination"], ["mv"], ["install", "-m", "600"]], 1
    ):
        new.write_bytes(b"%d" % number)
        subprocess.run([*command, new, current], check=True)
    subprocess.run(["sh", "-c", '{ printf 5; printf 6; } > "$0"', current], check=True)
    subprocess.run(["sh", "-c", 'printf 7 >> "$0"', current], check=True)
    assert history(directory) == [b"0", b"1", b"2", b"3", b"4", b"56", b"567"]


def test_a_retired_version_becomes_current_again(live: LiveStore) -> None:
    directory = new_client(live, "line/back", b"first")
    (directory / "current").write_bytes(b"second")
    subprocess.run(["mv", directory / stamps(directory)[0], directory / "current"], check=True)
    assert history(directory) == [b"first", b"second", b"first"]
    with pytest.raises(OSError, match="permitted"):
        (directory / stamps(directory)[0]).unlink()


def test_the_history_is_as_long_as_declared(live: LiveStore) -> None:
    directory = new_client(live, "db/main", b"password 0")
    for number in range(1, 5):
        (directory / "current").write_bytes(b"password %d\n" % number)
    assert history(directory) == [b"password 2", b"password 3", b"password 4"]
    (directory / "rotate").write_bytes(b"1")
    assert len(stamps(directory)) == 2
    assert len((directory / "current").read_bytes()) == 20


def test_newlines_are_treated_as_declared(live: LiveStore) -> None:
    assert (new_client(live, "db/newline", b"word\n") / "current").read_bytes() == b"word"
    line = new_client(live, "line/newline", b"word")
    assert refused(line / "current", b"other\n", at="close") == errno.EINVAL
    assert history(line) == [b"word"]
    aes = new_client(live, "aes/newline", b"k" * 47 + b"\n")
    assert (aes / "current").read_bytes() == b"k" * 47 + b"\n"


@pytest.mark.parametrize(
    ("purpose", "good", "bad", "at"),
    [
        ("db", b"password", b"pass\0word", "write"),
        ("db", b"password", b"pass\tword", "write"),
        ("db", b"password", b"\xff\xfe", "close"),
        ("aes", b"k" * 48, b"k" * 49, "write"),
        ("aes", b"k" * 48, b"k" * 47, "close"),
        ("cert", PEM, b"no pem at all", "close"),
        ("cert", PEM, PEM[:-10], "close"),
        ("line", b"1", b"x" * 65537, "write"),
    ],
)
def test_a_bad_shape_is_refused_as_early_as_it_shows(
    live: LiveStore, purpose: str, good: bytes, bad: bytes, at: str
) -> None:
    directory = new_client(live, f"{purpose}/{hashlib.sha256(bad).hexdigest()}", good)
    assert refused(directory / "current", bad, at=at) == errno.EINVAL
    assert history(directory) == [good]


def test_what_is_not_generated_is_refused_at_open(live: LiveStore) -> None:
    directory = new_client(live, "cert/generated", PEM)
    assert refused(directory / "rotate", b"1", at="open") == errno.EPERM
    done = run_keyfs("rotate", "cert/generated", environment=live.environment)
    assert (done.returncode, b"only imported" in done.stderr) == (12, True)
    assert b"write any byte" in (directory / "rotate").read_bytes()
    assert history(directory) == [PEM]


def test_a_key_without_clients_stands_under_global(live: LiveStore) -> None:
    with pytest.raises(OSError, match="permitted"):
        (live.mountpoint / "site" / "@global").mkdir()
    directory = live.make("site/@global", b"\0\1\2")
    assert (directory / "current").read_bytes() == b"\0\1\2"
    (directory / "current").write_bytes(b"\3")
    assert history(directory) == [b"\0\1\2", b"\3"]


@pytest.mark.parametrize("name", [".hidden", "-x", "a b", "@global", "x" * 129])
def test_no_client_is_made_of_a_bad_name(live: LiveStore, name: str) -> None:
    with pytest.raises(OSError, match="denied"):
        (live.mountpoint / "tls" / name).mkdir()


def test_a_change_by_another_process_is_seen_and_wakes_watchers(live: LiveStore) -> None:
    directory = live.make("tls/outside")
    current = directory / "current"
    wait_until(current.exists)
    first = current.read_bytes()
    with watching(current, directory) as watcher:
        live.make("tls/outside")
        watcher.wait_for(current)
        watcher.wait_for(directory, "ATTRIB")
        second = current.read_bytes()
        assert second != first
        assert history(directory) == [first, second]
        watcher.wait_for_quiet()  # what was made before the watch began is told, too
        watcher.forget()
        assert (
            run_keyfs(
                "destroy", f"tls/outside/{stamps(directory)[0]}", environment=live.environment
            ).returncode
            == 0
        )
        watcher.wait_for(directory, "ATTRIB")
        assert watcher.seen(current) == []
    assert history(directory) == [second]


def test_an_open_file_keeps_its_version_through_rotations_that_destroy_it(live: LiveStore) -> None:
    directory = new_client(live, "token/held", b"first")
    with (directory / "current").open("rb") as held:
        (directory / "current").write_bytes(b"second")
        assert held.read() == b"first"
    assert history(directory) == [b"second"]


def test_the_inventory_has_them(live: LiveStore) -> None:
    new_client(live, "token/listed", b"value")
    lines = (live.mountpoint / ".keyfs" / "inventory.tsv").read_text().splitlines()
    [row] = [line.split("\t") for line in lines if line.startswith("token\tlisted\t")]
    assert row[2:6] == ["current", "yes", "no", "5"]
