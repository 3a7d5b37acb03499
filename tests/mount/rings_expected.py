"""What a mount of a key store of layout v2 has to show, by what real Acra says of its rings."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from keyfs.testing.stores import Manifest

VECTORS: Final = Path(__file__).parents[1] / "vectors"
REAL: Final = ("v2-dir", "v2-tz", "v2-odd", "v2-migrated")
SMALL: Final = ("rotated2", "destroyed2", "states2", "tz2")
REDIS: Final = ("v2-redis.json", "small-v2-redis.json")


@dataclass(frozen=True)
class Version:
    """One element of a ring, opened by Acra. Both halves are None for one that was destroyed."""

    seqnum: int
    since_s: int
    secret: bytes | None
    public: bytes | None


@dataclass(frozen=True)
class Rings:
    """All rings that Acra opens, by path: the current number, and the versions."""

    rings: dict[str, tuple[int, tuple[Version, ...]]]
    refused: tuple[str, ...]  # those it does not

    def files(self) -> dict[str, tuple[bytes, int]]:
        """Contents and times by path in the mount."""
        return dict(self._files())

    def directories(self) -> set[str]:
        """The clients, and what stands in their place."""
        return {_directory(path) for path in self.rings}

    def listed(self) -> set[tuple[str, str | None, str, bool, bool, int]]:
        """Purpose, client, version, current, public, size: the rows of `keyfs list --versions`."""
        rows = set()
        for path, (current, versions) in self.rings.items():
            purpose, client = _directory(path).split("/")
            for version in versions:
                for data, is_public in ((version.secret, False), (version.public, True)):
                    if data is not None:
                        row = (str(version.seqnum), version.seqnum == current, is_public, len(data))
                        rows.add((purpose, None if client == "@global" else client, *row))
        return rows

    def _files(self) -> Iterator[tuple[str, tuple[bytes, int]]]:
        for path, (current, versions) in self.rings.items():
            for version in versions:
                labels = (str(version.seqnum), *(["current"] if version.seqnum == current else []))
                for label in labels:
                    for data, suffix in ((version.secret, ""), (version.public, ".pub")):
                        if data is not None:
                            shown = data, version.since_s * 10**9
                            yield f"{_directory(path)}/{label}{suffix}", shown


def of_manifest(manifest: Manifest) -> Rings:
    """What the manifest of a store from the complete Acra tools says."""
    rings = {
        path: (ring["current"], tuple(map(_of_manifest, ring["keys_newest_first"])))
        for path, ring in manifest["rings"].items()
    }
    return Rings(rings, ())


def of_files(files: list[dict[str, Any]]) -> Rings:
    """What the manifest of a small store says."""
    rings = {}
    for file in files:
        if "ring" in file:
            versions = tuple(map(_of_ring, file["ring"]["keys"]))
            rings[_path(file)] = (file["ring"]["current"], versions)
    return Rings(rings, tuple(_path(file) for file in files if "expect" in file))


def dump_of(name: str) -> tuple[str, dict[bytes, bytes], Rings]:
    """Master key, keys and values, and what Acra reads: a dump of Redis."""
    dump = json.loads((VECTORS / name).read_bytes())
    if "manifest" in dump:
        values = {
            base64.b64decode(k["key_base64"]): base64.b64decode(k["value_base64"]) for k in dump["keys"]
        }
        manifest = dump["manifest"]
        return manifest["master_key_env"]["ACRA_MASTER_KEY"], values, of_manifest(manifest)
    master_key = base64.b64encode(dump["master_key_json"].encode()).decode()
    values = {entry["key"].encode(): entry["value"].encode() for entry in dump["entries"]}
    return master_key, values, of_files(dump["entries"])


def _path(file: dict[str, Any]) -> str:
    """Of a ring in a manifest: the store's own directory stands before it."""
    name = str(file.get("path") or file["key"])
    return name.partition("/")[2].removesuffix(".keyring")


def _directory(path: str) -> str:
    parts = path.split("/")
    return f"{path}/@global" if len(parts) == 1 else f"{parts[2]}/{parts[1]}"


def _of_manifest(key: dict[str, Any]) -> Version:
    since = datetime.fromisoformat(key["valid_since"])
    secret = key.get("symmetric_hex") or key.get("private_hex")
    return Version(key["seqnum"], int(since.timestamp()), _bytes(secret), _bytes(key.get("public_hex")))


def _of_ring(key: dict[str, Any]) -> Version:
    since, zone = key["since"][:12], key["since"][12:]
    moment = datetime.strptime(since + zone.replace("Z", "+0000"), "%y%m%d%H%M%S%z").astimezone(UTC)
    data = key["data"][0] if key["data"] else {}
    secret = _bytes(data.get("symmetric") or data.get("private"))
    return Version(key["seqnum"], int(moment.timestamp()), secret, _bytes(data.get("public")))


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)
