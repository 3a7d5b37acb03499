"""A key store, its backups, and the commands that make and restore them."""

from dataclasses import dataclass
from pathlib import Path

from command_line import Ran, keyfs
from copied_stores import Place, own_store

LABELS = ("storage/alice", "storage-sym/alice", "poison-record", "poison-record-sym", "audit-log")
BUNDLES = Path(__file__).parents[1] / "vectors" / "bundles"
FAULTS, USAGE, NOT_FOUND, EXISTS, BROKEN, UNSUPPORTED = 1, 2, 4, 5, 9, 18


@dataclass(frozen=True)
class Site:
    """A key store, and where its backups go."""

    place: Place
    bundle: Path

    @property
    def key(self) -> Path:
        return self.bundle.with_name(self.bundle.name + ".key")

    def run(self, command: str, *words: str | Path, **environment: str) -> Ran:
        where = {"KEYFS_STORE": self.place.uri, **self.place.environment, **environment}
        return keyfs(command, *words, environment=where)

    def export(self, *words: str | Path, **environment: str) -> Ran:
        return self.run("export", "--bundle", self.bundle, *words, **environment)

    def verify(self, *words: str | Path, **environment: str) -> Ran:
        return self.run("verify", self.bundle, *words, **environment)

    def restore(self, *words: str | Path, **environment: str) -> Ran:
        return self.run("import", "--bundle", self.bundle, *words, **environment)

    def at(self, place: Place) -> "Site":
        return Site(place, self.bundle)


def new_site(place: Path) -> Site:
    """Five keys with three versions each."""
    return Site(own_store(place, *LABELS), place / "keys.bundle")
