"""A key store that several mounts and other programs have in common, and what each mount says about it."""

import json
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from keyfs import app
from keyfs.broker.keystore import KeyStore
from keyfs.broker.writer import RingWriter
from keyfs.core.names import Half, parse_key_ref
from keyfs.fs.xattrs import STATE
from keyfs.master.generate import generate as new_master_key
from keyfs.testing.mounted import mounted, run_keyfs


@dataclass(frozen=True, slots=True)
class SharedStore:
    """A key store, wherever it lies; its master key is in a file."""

    uri: str
    master_key: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which `keyfs` opens it."""
        return {"KEYFS_STORE": self.uri, "KEYFS_MASTER_KEY": f"file:{self.master_key}"}

    def keyfs(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """What a command that has to succeed prints."""
        done = run_keyfs(*arguments, environment=self.environment, stdin=stdin)
        assert done.returncode == 0, done.stderr.decode()  # noqa: S101 - this is the test kit
        return done.stdout

    @contextmanager
    def opened(self) -> Iterator[tuple[KeyStore, RingWriter]]:
        """The key store as another program of keyfs sees it: listed anew, past every mount."""
        keys, writer = app.open_keys(app.Access(self.uri, f"file:{self.master_key}"))
        with closing(keys):
            keys.load()
            yield keys, writer

    def make(self, *labels: str) -> None:
        """Generate keys, or the next version of those that are there."""
        with self.opened() as (keys, writer):
            there = set(keys.index.refs())
            for ref in map(parse_key_ref, labels):
                (writer.rotate if ref in there else writer.generate)(ref)

    def versions(self, label: str) -> dict[str, bytes]:
        """The private or symmetric bytes of all versions there are, by id, oldest first."""
        ref = parse_key_ref(label)
        with self.opened() as (keys, _):
            ids = [version.id for version in keys.ring(ref).versions]
            return {i: keys.read(ref, i, Half.SECRET)[0].material.reveal() for i in ids}


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount of a key store, and where its daemon logs."""

    path: Path
    log: Path

    def read(self, label: str, version: str = "current") -> bytes:
        """The bytes of one file, opened anew."""
        return (self.path / label / version).read_bytes()

    def status(self) -> dict[str, object]:
        """What `.keyfs/status.json` says."""
        facts = json.loads((self.path / ".keyfs" / "status.json").read_bytes())
        assert isinstance(facts, dict)  # noqa: S101 - this is the test kit
        return facts

    def states(self) -> set[str]:
        """What every place says that tells whether keys are fresh."""
        lines = (self.path / ".keyfs" / "status").read_text().splitlines()
        said = {line.removeprefix("state: ") for line in lines if line.startswith("state: ")}
        return {*said, str(self.status()["state"]), os.getxattr(self.path, STATE).decode()}

    def logged(self, *words: str) -> list[str]:
        """The lines of the daemon's log that hold all *words*."""
        return [line for line in self.log.read_text().splitlines() if all(word in line for word in words)]


def shared_store(place: Path, uri: str, layout: str = "v1") -> SharedStore:
    """The empty key store of *layout* at *uri* with a new master key, kept in *place*."""
    path = place / "master.key"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(new_master_key(layout))
    app.init_store(uri, layout)
    return SharedStore(uri, path)


@contextmanager
def mount_of(store: SharedStore, place: Path, *options: str) -> Iterator[Mount]:
    """The key store, mounted below *place*; the daemon must not have had to admit a bug of its own."""
    place.mkdir(exist_ok=True)
    log = place / "daemon.log"
    where = ("--log-level", "info", "--log-file", str(log))
    with mounted(place / "mount", *where, *options, environment=store.environment) as path:
        mount = Mount(path, log)
        yield mount
    assert not mount.logged("request.bug"), mount.logged("request.bug")  # noqa: S101 - this is the test kit
