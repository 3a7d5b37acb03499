"""Processes that die at a chosen step of a change, and what must hold of the key store they leave."""

import base64
import hashlib
import json
import os
import pwd
import signal
import subprocess
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest
from acra_replica import all_versions, public_container_fits, refused_by_lister, unseal
from ring_reader import MARK, ReadRing, read_ring

from keyfs.broker.check import check
from keyfs.broker.format_states import FormatStates
from keyfs.broker.keystore import KeyStore
from keyfs.broker.writer import RingWriter
from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.core.secret import Secret
from keyfs.errors import KeyNotFound
from keyfs.layout.v1 import LayoutV1
from keyfs.layout.v1_names import is_public
from keyfs.layout.v2 import LayoutV2
from keyfs.layout.v2_names import path_of
from keyfs.seal.protection import Protections
from keyfs.seal.registry import open_sealer
from keyfs.store.directory import DirectoryStore
from keyfs.testing.ring_stores import ring_store

MASTER = hashlib.sha256(b"the master key of the fault tests").digest()
MASTER_TEXT = base64.b64encode(MASTER).decode()  # as ACRA_MASTER_KEY holds it
SIGNATURE = hashlib.sha256(b"the signature key of the fault tests").digest()
MASTER_TEXT_V2 = base64.b64encode(
    json.dumps({"encryption": MASTER_TEXT, "signature": base64.b64encode(SIGNATURE).decode()}).encode()
).decode()
LAYOUTS = ["v1", "v2"]
NO_KEYS = {"version", ".lock"}  # in layout v2
IN_CI = bool(os.environ.get("CI"))
Step = Callable[[str], None]
Change = Callable[[KeyStore, RingWriter], object]
Value = tuple[bytes, bytes]  # both halves; the second is empty for a symmetric key


@dataclass(frozen=True)
class Place:
    """A key store that is about to suffer."""

    root: Path
    public_root: Path | None = None
    layout: str = "v1"

    def open(self, on_step: Step = lambda _step: None) -> tuple[KeyStore, RingWriter]:
        """A loaded key store of its own, as another process would see it."""
        store = DirectoryStore(self.root, self.public_root, is_public, on_step)
        protections = Protections.under(open_sealer(Secret(MASTER)))
        if self.layout == "v1":
            keys = KeyStore(store, LayoutV1(), protections)
        else:
            rings = ring_store(store, SIGNATURE)
            keys = KeyStore(rings, LayoutV2(), protections)
            keys.states.in_format = FormatStates(keys, rings)
        keys.load()
        return keys, RingWriter(keys)

    @property
    def environment(self) -> dict[str, str]:
        """In which keyfs opens it."""
        text = MASTER_TEXT if self.layout == "v1" else MASTER_TEXT_V2
        return {"ACRA_MASTER_KEY": text, "KEYFS_STORE": str(self.root)}

    def ring(self, ref: KeyRef) -> ReadRing:
        """In layout v2: what a stranger reads."""
        path = path_of(ref)
        return read_ring(path, (self.root / f"{path}.keyring").read_bytes(), MASTER, SIGNATURE)

    def names(self) -> set[str]:
        """Of all files in it."""
        return {str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file()}

    @property
    def roots(self) -> list[Path]:
        """Every directory with key files in it."""
        return [self.root] if self.public_root is None else [self.root, self.public_root]

    def file(self, name: str) -> Path:
        """Where a key file lies."""
        return (self.public_root if self.public_root is not None and is_public(name) else self.root) / name


def new_place(root: Path, layout: str = "v1", public_root: Path | None = None) -> Place:
    """An empty key store, unless there is one."""
    for directory in (root, public_root):
        if directory is not None:
            directory.mkdir(0o700, parents=True, exist_ok=True)
    if layout == "v2":
        (root / "version").write_bytes(MARK)
    return Place(root, public_root, layout)


def become_nobody() -> None:
    """Give up the rights of root, for the rest of this process."""
    nobody = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setresgid(nobody.pw_gid, nobody.pw_gid, nobody.pw_gid)
    os.setresuid(nobody.pw_uid, nobody.pw_uid, nobody.pw_uid)


def give_to_nobody(place: Place) -> None:
    """Make the key store that user's; every parent lets that user through."""
    nobody = pwd.getpwnam("nobody")
    for path in (place.root, *place.root.rglob("*"), *beside(place).rglob("*"), beside(place)):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    for parent in [path for path in place.root.parents if path.stat().st_mode & 0o077 == 0]:
        parent.chmod(0o711)


def beside(place: Place) -> Path:
    """Where keyfs keeps what is its own."""
    return place.root.with_name(place.root.name + ".keyfs")


def need_root(why: str) -> None:
    """Skip the test where it cannot be done."""
    if os.geteuid() != 0:
        skip(f"needs root: {why}")


def need_mount(*arguments: str) -> None:
    """Mount, or skip the test where that is not allowed: root in a container is often not."""
    done = subprocess.run(["mount", *arguments], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        skip(f"cannot mount here: {done.stderr.splitlines()[0]}")


def skip(reason: str) -> NoReturn:
    """Skip the test; in CI a skip is a failure."""
    if IN_CI:
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def mounted_tmpfs(
    path: Path, options: str = "size=1m", *, is_mount: bool = True
) -> Iterator[Callable[[str], None]]:
    """A file system of its own at *path*; yields what remounts it. Only with *is_mount*."""
    if not is_mount:
        yield lambda _options: None
        return
    need_mount("-t", "tmpfs", "-o", f"mode=0700,{options}", "tmpfs", str(path))
    try:
        yield lambda changes: mount("-o", f"remount,{changes}", str(path))
    finally:
        subprocess.run(["umount", path], check=True)


def mount(*arguments: str) -> None:
    """Runs the command of that name."""
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


@dataclass(frozen=True)
class Death:
    """How a process that was to die ended."""

    steps: list[str]
    was_killed: bool


def die_at(step: int, place: Place, change: Change) -> Death:
    """Run *change* in a process of its own that kills itself when it gets to that step, counted from 0."""
    reader, writer = os.pipe()
    child = start(lambda: _perform(step, writer, place, change))
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        steps = pipe.read().decode().splitlines()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), f"the change failed with {status} after {steps}"
    return Death(steps, status != 0)


def start(work: Callable[[], object]) -> int:
    """The number of a process that does *work* and ends, whatever happens: no copy of the tests goes on."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - nothing may get out of here
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def _perform(step: int, pipe: int, place: Place, change: Change) -> None:
    seen = 0

    def count(name: str) -> None:
        nonlocal seen
        os.write(pipe, f"{name}\n".encode())
        if seen == step:
            os.kill(os.getpid(), signal.SIGKILL)
        seen += 1

    change(*place.open(count))


def values(keys: KeyStore, ref: KeyRef) -> dict[str, Value]:
    """What keyfs reads of every version of one key, by version; graves are none."""
    found: dict[str, Value] = {}
    try:
        ring = keys.ring(ref)
    except KeyNotFound:
        return found
    for version in ring.versions:
        secret = keys.read(ref, version.id, Half.SECRET)[0].material.reveal() if version.secret else b""
        public = keys.read(ref, version.id, Half.PUBLIC)[0].material.reveal() if version.public else b""
        if version.secret or version.public:
            found[version.id] = (secret, public)
    return found


def assert_survived(place: Place, ref: KeyRef, before: dict[str, Value], *, amends: bool = False) -> None:
    """Nothing that was readable is lost or changed; there is one current, old or new; its halves fit."""
    keys, _ = place.open()
    now = values(keys, ref)
    assert all(is_kept(value, now.get(version)) for version, value in before.items() if version != CURRENT)
    assert len({secret for secret, _ in now.values()}) == len(now), "a version is there twice"
    assert len(now) - len(before) in (0, 1), sorted(now)
    if CURRENT in before:
        assert CURRENT in now, "there is no current version"
        found = [version for version, value in now.items() if is_kept(before[CURRENT], value)]
        assert amends or len(found) == 1, "what was current is lost"
        strange = {now[v][0] for v in now if v != CURRENT} - {secret for secret, _ in before.values()}
        assert not strange, "who made this version?"
    for secret, public in now.values():
        assert not secret or not public or public_container_fits(secret, public), "the halves do not fit"


def is_kept(value: Value, now: Value | None) -> bool:
    """Whether a version still has both its halves. A missing public half may have been added."""
    return now is not None and now[0] == value[0] and value[1] in (b"", now[1])


def assert_acra_reads(place: Place, ref: KeyRef, expected: dict[str, Value]) -> None:
    """Acra finds the same current, and every version's private half and public half in its files."""
    if place.layout == "v2":
        ring = place.ring(ref)
        found = {CURRENT if k.seqnum == ring.current else str(k.seqnum): k for k in ring.keys if k.plain}
        assert {name: (key.plain or b"", key.public or b"") for name, key in found.items()} == expected
        return
    layout = LayoutV1()
    names = layout.places(ref).names
    blobs = all_versions(place.file(names[0]))
    secrets = [unseal(MASTER, blob, layout.label(ref).context) for blob in blobs]
    assert secrets[0] == expected[CURRENT][0]
    assert sorted(secrets) == sorted(secret for secret, _ in expected.values() if secret)
    if ref.purpose.is_pair:
        publics = all_versions(place.file(names[1]))
        assert publics[0] == expected[CURRENT][1]
        assert {public for _, public in expected.values() if public} <= set(publics)


def assert_mends(place: Place, ref: KeyRef) -> None:
    """A repair makes the key store clean, for keyfs and for Acra, and changes no version."""
    keys, writer = place.open()
    before = values(keys, ref)
    report = check(keys, writer, settle_s=0)
    assert report.is_clean, report.findings
    assert not check(keys).findings
    assert_clean(place)
    after = values(place.open()[0], ref)
    assert before.keys() == after.keys()
    assert all(is_kept(value, after[version]) for version, value in before.items())
    if after:
        assert_acra_reads(place, ref, after)


def assert_clean(place: Place) -> None:
    """Nothing is left over that keyfs or Acra's lister would stumble over."""
    keys, _ = place.open()
    assert not check(keys).findings
    assert not refused_by_acra(place)


def refused_by_acra(place: Place) -> list[str]:
    """What in the key store keeps Acra's lister from its work: in layout v2 any file that is no ring."""
    if place.layout == "v1":
        return [refused for root in place.roots for refused in refused_by_lister(root)]
    return [name for name in place.names() - NO_KEYS if not name.endswith(".keyring")]
