"""A mounted key store for tests, and a second way to look into it that does not go through the mount."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from keyfs import app
from keyfs.broker.keystore import KeyStore
from keyfs.broker.writer import RingWriter
from keyfs.config import load
from keyfs.core.names import Half, parse_key_ref
from keyfs.errors import KeyNotFound
from keyfs.master.generate import generate as new_master_key
from keyfs.testing.mounted import mounted


@dataclass(frozen=True, slots=True)
class LiveStore:
    """A key store, where it is mounted, and where its daemon logs."""

    root: Path
    master_key: Path  # a file, as `file:PATH` takes it
    mountpoint: Path
    log: Path
    config: Path | None = None
    uri: str = ""  # of the key store where it does not lie in *root*

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which `keyfs` opens it."""
        where = {"KEYFS_STORE": self.access.store, "KEYFS_MASTER_KEY": f"file:{self.master_key}"}
        return where if self.config is None else {**where, "KEYFS_CONFIG": str(self.config)}

    @property
    def access(self) -> app.Access:
        """The same for what is no program."""
        own = () if self.config is None else load(str(self.config)).own_purposes()
        return app.Access(self.uri or f"dir:{self.root}", f"file:{self.master_key}", own=own)

    @contextmanager
    def opened(self) -> Iterator[tuple[KeyStore, RingWriter]]:
        """The key store as another program sees it: listed anew, past the mount."""
        keys, writer = app.open_keys(self.access)
        with closing(keys):
            keys.load()
            yield keys, writer

    def make(self, label: str, material: bytes | None = None) -> Path:
        """Make the next version of a key, or its first one; returns its directory under the mount."""
        ref = parse_key_ref(label, self.access.purposes)
        with self.opened() as (keys, writer):
            if material is not None:
                writer.import_material(ref, material)
            elif ref in keys.index.refs():
                writer.rotate(ref)
            else:
                writer.generate(ref)
        return self.mountpoint / str(ref)

    def version_ids(self, label: str) -> list[str]:
        """The ids of all versions there are, oldest first; reads none, so that any may leave meanwhile."""
        with self.opened() as (keys, _):
            return [version.id for version in keys.ring(parse_key_ref(label, self.access.purposes)).versions]

    def versions(self, label: str) -> dict[str, bytes]:
        """The private or symmetric bytes of all versions there are, by id, oldest first."""
        ref = parse_key_ref(label, self.access.purposes)
        with self.opened() as (keys, _):
            try:
                ring = keys.ring(ref)
            except KeyNotFound:
                return {}
            return {v.id: keys.read(ref, v.id, Half.SECRET)[0].material.reveal() for v in ring.versions}

    def logged(self, *words: str) -> list[str]:
        """The lines of the daemon's log that hold all *words*."""
        return [line for line in self.log.read_text().splitlines() if all(word in line for word in words)]


def new_live_store(place: Path, config: str = "", *, layout: str = "v1") -> LiveStore:
    """A new, empty key store below *place*, with a mountpoint; not mounted yet.

    Args:
        place: a directory.
        config: what is to stand in a configuration file; empty for none.
        layout: Acra's, "v1" or "v2".
    """
    path = place / "keyfs.toml" if config else None
    if path is not None:
        path.write_text(config, encoding="utf-8")
    store = LiveStore(place / "keys", place / "master.key", place / "mount", place / "daemon.log", path)
    app.init_store(f"dir:{store.root}", layout)
    fd = os.open(store.master_key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(new_master_key(layout))
    store.mountpoint.mkdir()
    return store


@contextmanager
def live_store(place: Path, *options: str, config: str = "") -> Iterator[LiveStore]:
    """A new, empty key store below *place*, mounted; at the end the daemon must not have logged an error."""
    store = new_live_store(place, config)
    log = ("--log-level", "info", "--log-file", str(store.log))
    with mounted(store.mountpoint, *log, *options, environment=store.environment):
        yield store
    assert not store.logged(" error "), store.logged(" error ")  # noqa: S101 - this is the test kit
