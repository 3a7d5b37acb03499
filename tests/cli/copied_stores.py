"""Key stores that are copied: what is in them, by any way of looking."""

import base64
import subprocess
from dataclasses import dataclass
from pathlib import Path

from command_line import run_here

from keyfs import app
from keyfs.core.names import Half
from keyfs.testing.redis_servers import RedisServer
from keyfs.testing.shared_store import shared_store

Label = tuple[str, str | None, str, bool]  # purpose, client, version, is it the public half


@dataclass(frozen=True)
class Found:
    """One half of one version: its bytes, and when it became current."""

    material: bytes
    created_ns: int | None


@dataclass(frozen=True)
class Place:
    """A key store somewhere, opened with a master key."""

    uri: str
    master_key: Path
    legacy: bool = False

    def contents(self) -> dict[Label, Found]:
        """Every half of every version, in order."""
        found: dict[Label, Found] = {}
        keys, _ = app.open_keys(app.Access(self.uri, f"file:{self.master_key}", self.legacy))
        keys.load()
        for ring in sorted(keys.rings(), key=lambda ring: str(ring.ref)):
            for version in ring.versions:
                for half, part in ((Half.SECRET, version.secret), (Half.PUBLIC, version.public)):
                    if part is not None:
                        label = (ring.ref.purpose.name, ring.ref.client, version.id, half is Half.PUBLIC)
                        material = keys.read(ring.ref, version.id, half)[0].material.reveal()
                        found[label] = Found(material, version.created_ns)
        keys.close()
        return found

    def copy_to(self, target: "Place") -> "subprocess.CompletedProcess[bytes]":
        return run_here("copy", *self.words(target), environment=self.environment)

    def words(self, target: "Place") -> tuple[str, ...]:
        return (self.uri, target.uri, *(("--legacy",) if self.legacy else ()))

    @property
    def environment(self) -> dict[str, str]:
        return {"KEYFS_MASTER_KEY": f"file:{self.master_key}"}

    def check(self) -> "subprocess.CompletedProcess[bytes]":
        return run_here(
            "check", environment={**self.environment, "KEYFS_STORE": self.uri, **self.legacy_environment}
        )

    @property
    def legacy_environment(self) -> dict[str, str]:
        return {"KEYFS_LEGACY": "1"} if self.legacy else {}


def key_file(place: Path, text: str) -> Path:
    path = place / "master.key"
    path.touch(0o600)
    path.write_text(text)
    return path


def new_directory(source: Place, path: Path) -> Place:
    app.init_store(f"dir:{path}", "v1")
    return Place(f"dir:{path}", source.master_key, source.legacy)


def own_store(place: Path, *labels: str, versions: int = 3) -> Place:
    store = shared_store(place, f"dir:{place / 'source'}")
    for _ in range(versions):
        store.make(*labels)
    return Place(store.uri, store.master_key)


def files_in(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def blobs_in(server: RedisServer, prefix: str) -> dict[str, bytes]:
    names = [key for key in server.ask("KEYS", "*") if key.startswith(f"{prefix}/".encode())]
    return {
        name.decode().removeprefix(f"{prefix}/"): base64.b64decode(server.ask("GET", name), validate=True)
        for name in names
    }


def materials(contents: dict[Label, Found]) -> list[tuple[Label, bytes]]:
    return [(label, found.material) for label, found in contents.items()]
