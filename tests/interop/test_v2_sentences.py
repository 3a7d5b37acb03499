"""Key stores of layout v2 that keyfs made: a stranger reads the same in them, sentence by sentence."""

import base64
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from command_line import run_here
from ring_reader import MARK, ReadRing, read_ring
from strangers import Raw

from keyfs.cli.exitcodes import EXIT_CODES
from keyfs.core.names import parse_key_ref
from keyfs.errors import KeyDestroyed, KeyExpired, KeyRevoked
from keyfs.testing.mounted import mounted, run_keyfs
from keyfs.testing.redis_servers import RedisServer
from keyfs.testing.shared_store import SharedStore, shared_store

ENCRYPTION, SIGNATURE = b"e" * 32, b"s" * 32
DOCUMENT = b'{"encryption":"%b","signature":"%b"}' % (
    base64.b64encode(ENCRYPTION),
    base64.b64encode(SIGNATURE),
)
MASTER_KEY = base64.b64encode(DOCUMENT).decode()
PREFIX = "a/b"
PATHS = {
    "storage/alice": "client/alice/storage",
    "storage-sym/a_storage_sym": "client/a_storage_sym/storage-sym",
    "poison-record": "poison-record",
    "audit-log": "audit-log",
}


@dataclass(frozen=True)
class Site:
    """A new key store of layout v2, and what is in it, past keyfs."""

    uri: str
    root: Path | None
    server: RedisServer | None

    @property
    def environment(self) -> dict[str, str]:
        return {"KEYFS_STORE": self.uri, "ACRA_MASTER_KEY": MASTER_KEY}

    def keyfs(self, *words: str, stdin: bytes = b"", code: int = 0) -> bytes:
        done = run_here(*words, environment=self.environment, stdin=stdin)
        assert done.returncode == code, done.stderr.decode()
        return done.stdout

    def file(self, name: str) -> bytes:
        if self.root is not None:
            return (self.root / name).read_bytes()
        assert self.server is not None
        value = self.server.admin.get(f"{PREFIX}/{name}")
        assert value is not None
        return value if name == "version" else base64.b64decode(value, validate=True)

    def names(self) -> set[str]:
        if self.root is not None:
            return {str(p.relative_to(self.root)) for p in self.root.rglob("*") if p.is_file()} - {".lock"}
        assert self.server is not None
        return {key.decode().removeprefix(f"{PREFIX}/") for key in self.server.admin.keys(f"{PREFIX}/*")}

    def ring(self, path: str) -> ReadRing:
        return read_ring(path, self.file(f"{path}.keyring"), ENCRYPTION, SIGNATURE)


@pytest.fixture(params=["directory", "redis"])
def site(request: pytest.FixtureRequest, tmp_path: Path, server: RedisServer) -> Site:
    if request.param == "directory":
        made = Site(f"dir:{tmp_path}/keys", tmp_path / "keys", None)
    else:
        server.admin.flushall()
        made = Site(server.unix_uri(PREFIX), None, server)
    made.keyfs("init", "--layout", "v2")
    return made


@contextmanager
def mount_of(site: Site, place: Path) -> Iterator[Path]:
    with mounted(place / "mount", environment=site.environment) as mountpoint:
        yield mountpoint


def test_init_writes_the_mark_and_nothing_else(site: Site) -> None:
    assert site.names() == {"version"}
    assert site.file("version") == MARK
    if site.root is not None:
        assert (site.root / "version").stat().st_mode & 0o777 == 0o644
        assert site.root.stat().st_mode & 0o777 == 0o700
    site.keyfs("init", "--layout", "v2", code=17)


@pytest.mark.parametrize(
    ("key", "path", "form"),
    [
        ("storage/with space 7", "client/with space 7/storage", 1),
        ("storage-sym/client", "client/client/storage-sym", 3),
        ("hmac-sym/-----", "client/-----/hmac-sym", 3),
        ("poison-record", "poison-record", 1),
        ("poison-record-sym", "poison-record-sym", 3),
        ("audit-log", "audit-log", 3),
    ],
)
def test_commands_write_what_acra_writes(site: Site, key: str, path: str, form: int) -> None:
    before = time.time() - 1
    site.keyfs("generate", key)
    site.keyfs("rotate", key)
    ring = site.ring(path)
    assert (ring.purpose, ring.current, len(ring.keys)) == (path.encode(), 2, 2)
    for number, found in enumerate(ring.keys, 1):
        assert (found.seqnum, found.state, found.format) == (number, 1, form)
        assert (found.until - found.since).days == 365
        assert before <= found.since.timestamp() <= time.time()
        assert (found.public is None) == (form == 3)
        full = key if "/" in key else f"{key}/@global"
        assert site.keyfs("read", f"{full}/{number}") == found.plain
        if found.public is not None:
            assert site.keyfs("read", f"{full}/{number}", "--public") == found.public
    assert site.keyfs("read", key) == ring.keys[1].plain
    assert site.names() == {"version", f"{path}.keyring"}
    assert not site.keyfs("check")


def test_a_mount_rotates_and_imports(site: Site, tmp_path: Path, fuse_required: None) -> None:
    site.keyfs("generate", "storage-sym/alice")
    with mount_of(site, tmp_path) as mountpoint:
        client = mountpoint / "storage-sym" / "alice"
        first = (client / "current").read_bytes()
        (client / "rotate").write_bytes(b"1")
        assert sorted(os.listdir(client)) == ["1", "2", "current", "rotate"]
        assert (client / "1").read_bytes() == first != (client / "current").read_bytes()
        (client / "current").write_bytes(b"k" * 32)
        assert (client / "3").read_bytes() == (client / "current").read_bytes() == b"k" * 32
        with pytest.raises(PermissionError):
            (client / "3").write_bytes(b"x" * 32)
        (mountpoint / "storage" / "bobby1").mkdir()
        (mountpoint / "storage" / "bobby1" / "rotate").write_bytes(b"1")
        assert len((mountpoint / "storage" / "bobby1" / "1.pub").read_bytes()) == 45
    ring = site.ring("client/alice/storage-sym")
    assert [key.plain for key in ring.keys][0::2] == [first, b"k" * 32]
    assert ring.current == 3
    assert site.ring("client/bobby1/storage").current == 1


def test_a_mount_shows_what_others_do(site: Site, tmp_path: Path, fuse_required: None) -> None:
    site.keyfs("generate", "hmac-sym/alice")
    with mount_of(site, tmp_path) as mountpoint:
        client = mountpoint / "hmac-sym" / "alice"
        before = (client / "current").read_bytes()
        site.keyfs("rotate", "hmac-sym/alice")
        give_up_at = time.monotonic() + 5
        while (client / "current").read_bytes() == before and time.monotonic() < give_up_at:
            time.sleep(0.01)
        assert (client / "current").read_bytes() == (client / "2").read_bytes() != before
        assert (client / "1").read_bytes() == before
        site.keyfs("generate", "hmac-sym/bobby1")
        while not (mountpoint / "hmac-sym" / "bobby1").exists() and time.monotonic() < give_up_at:
            time.sleep(0.01)
        assert len((mountpoint / "hmac-sym" / "bobby1" / "current").read_bytes()) == 32


def test_writers_in_several_processes_lose_no_version(site: Site) -> None:
    site.keyfs("generate", "storage/alice")
    command = [sys.executable, "-m", "keyfs", "rotate", "storage/alice"]
    running = [
        subprocess.Popen(command, env=os.environ | site.environment, stderr=subprocess.PIPE) for _ in range(4)
    ]
    said = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0] * 4, said
    ring = site.ring("client/alice/storage")
    assert [key.seqnum for key in ring.keys] == [1, 2, 3, 4, 5]
    assert ring.current == 5
    assert len({key.plain for key in ring.keys}) == 5


def test_a_destroyed_version_is_a_tombstone(site: Site) -> None:
    site.keyfs("generate", "storage/alice")
    site.keyfs("rotate", "storage/alice")
    site.keyfs("destroy", "--yes", "storage/alice/1", code=12)
    site.keyfs("destroy", "--yes", "--force", "storage/alice/1")
    ring = site.ring("client/alice/storage")
    assert [(key.seqnum, key.state, key.plain is None) for key in ring.keys] == [(1, 6, True), (2, 1, False)]
    site.keyfs("read", "storage/alice/1", code=EXIT_CODES[KeyDestroyed])
    site.keyfs("destroy", "--yes", "storage/alice/2", code=12)


def test_states_are_those_of_the_format(site: Site) -> None:
    site.keyfs("generate", "storage/alice")
    site.keyfs("rotate", "storage/alice")
    before = site.ring("client/alice/storage")
    expired, revoked = EXIT_CODES[KeyExpired], EXIT_CODES[KeyRevoked]
    for version, state, number, code in (
        ("1", "suspended", 3, expired),
        ("1", "compromised", 5, revoked),
        ("current", "suspended", 3, expired),
        ("2", "active", 2, 0),
        ("current", "compromised", 5, revoked),
    ):
        site.keyfs("state", f"storage/alice/{version}", state, "--why", "we say so")
        key = site.ring("client/alice/storage").keys[0 if version == "1" else 1]
        assert key.state == number, (version, state)
        site.keyfs("read", f"storage/alice/{version}", code=code)
    after = site.ring("client/alice/storage")
    assert [replace(key, state=1) for key in after.keys] == list(before.keys)
    site.keyfs("rotate", "storage/alice")
    assert [key.state for key in site.ring("client/alice/storage").keys] == [5, 5, 1]


def test_the_wrong_master_key_is_told(site: Site) -> None:
    site.keyfs("generate", "audit-log")
    other = DOCUMENT.replace(base64.b64encode(SIGNATURE), base64.b64encode(b"t" * 32))
    wrong = site.environment | {"ACRA_MASTER_KEY": base64.b64encode(other).decode()}
    for words, code in ((["check"], 8), (["read", "audit-log"], 9), (["rotate", "audit-log"], 8)):
        done = run_keyfs(*words, environment=wrong)
        assert done.returncode == code, (words, done.stderr)
    raw = site.environment | {"ACRA_MASTER_KEY": base64.b64encode(ENCRYPTION).decode()}
    done = run_keyfs("read", "audit-log", environment=raw)
    assert (done.returncode, b"v2 key store needs" in done.stderr) == (7, True)
    assert site.ring("audit-log").current == 1


def test_a_store_that_was_restored_obeys_the_specification(site: Site, tmp_path: Path) -> None:
    """From a bundle of layout v1; and a key store of that layout which was restored from this one, too."""
    origin, back = (new_store(tmp_path / name) for name in ("origin", "back"))
    origin.make(*PATHS)
    origin.make(*PATHS)
    bundle = tmp_path / "keys.bundle"
    origin.keyfs("export", "--bundle", str(bundle))
    site.keyfs("import", "--bundle", str(bundle))
    assert site.names() == {"version", *(f"{path}.keyring" for path in PATHS.values())}
    for label, path in PATHS.items():
        ring, made = site.ring(path), origin.versions(label)
        assert (ring.purpose, ring.current) == (path.encode(), 2)
        assert [key.plain for key in ring.keys] == list(made.values())
        assert [(key.seqnum, key.state) for key in ring.keys] == [(1, 1), (2, 1)]
        assert all((key.until - key.since).days == 365 for key in ring.keys)
        assert ring.keys[0].since <= ring.keys[1].since <= ring.modified
    site.keyfs("export", "--bundle", str(bundle), "--force")
    back.keyfs("import", "--bundle", str(bundle))
    told = Raw(root=tmp_path / "back" / "keys").read_v1(back.master_key)
    for label, path in PATHS.items():
        restored = [one.halves[0] for one in told[parse_key_ref(label)]]
        assert restored == [key.plain for key in site.ring(path).keys]


def new_store(place: Path) -> SharedStore:
    place.mkdir()
    return shared_store(place, f"dir:{place}/keys")
