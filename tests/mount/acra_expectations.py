"""What a mount of a key store made by Acra has to show, by the store's manifest; and what a mount shows."""

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from keyfs.core.stamps import parse_stamp
from keyfs.testing.stores import Manifest

MODERN = ("audit-log", "hmac-sym", "poison-record", "poison-record-sym", "storage", "storage-sym")
LEGACY = (
    "legacy-auth",
    "legacy-connector",
    "legacy-server",
    "legacy-translator",
    "legacy-zone",
    "legacy-zone-sym",
)

# "kind" in the manifests. A pair has two kinds there: one for each half.
PURPOSES = {
    "hmac": "hmac-sym",
    "poison": "poison-record",
    "poison-private": "poison-record",
    "poison-public": "poison-record",
    "poison-sym": "poison-record-sym",
    "poison-symmetric": "poison-record-sym",
    "storage-private": "storage",
    "storage-public": "storage",
    "storage-symmetric": "storage-sym",
}
# "Purpose" in what `acra-keys list` prints.
LISTED_PURPOSES = {
    "audit_log": "audit-log",
    "poison_key": "poison-record",
    "poison_sym_key": "poison-record-sym",
    "private_storage": "storage",
    "public_storage": "storage",
    "search_hmac": "hmac-sym",
    "storage_sym_key": "storage-sym",
}

# Purpose, client, is it the public half, is it current.
Listed = tuple[str, str | None, bool, bool]


@dataclass(frozen=True)
class Expected:
    """One file of the tree: one half of one version, and the moment when its private half was written."""

    purpose: str
    client: str | None
    version: str
    public: bool
    content: bytes
    written_ns: int | None

    @property
    def path(self) -> str:
        suffix = ".pub" if self.public else ""
        return f"{self.purpose}/{self.client or '@global'}/{self.version}{suffix}"

    @property
    def created(self) -> str:
        """RFC 3339 with microseconds, as `keyfs list` shows it."""
        assert self.written_ns is not None
        moment = datetime.fromtimestamp(self.written_ns // 10**9, UTC)
        return f"{moment:%Y-%m-%dT%H:%M:%S}.{self.written_ns % 10**9 // 1000:06d}Z"


def expected_of_real(manifest: Manifest) -> list[Expected]:
    """Every half that is current or rotated; halves of a pair belong together by their version number."""
    entries = {entry["path"]: entry for entry in manifest["entries"]}
    root = f"{manifest['private_dir']}/" if "private_dir" in manifest else ""
    versions = [version for version in manifest["versions"] if version["state"] != "destroyed"]
    halves = [(_purpose(version["kind"]), version) for version in versions]
    private = {(p, v["client"], v["version"]): v for p, v in halves if not _is_public(v["kind"])}
    expected = []
    for purpose, version in halves:
        first = private[purpose, version["client"], version["version"]]
        label = first.get("rotated_at", "current")
        content = bytes.fromhex(version["plaintext_hex"])
        is_public = _is_public(version["kind"])
        written_ns = entries[root + first["path"]]["mtime_ns"]
        expected.append(Expected(purpose, version["client"], label, is_public, content, written_ns))
    return expected


def expected_of_redis(manifest: Manifest) -> list[Expected]:
    """As `expected_of_real`; Redis keeps no times: a version became current when the one before retired."""
    versions = [version for version in manifest["versions"] if version["state"] != "destroyed"]
    halves = [(_purpose(version["kind"]), version) for version in versions]
    private = {(p, v["client"], v["version"]): v for p, v in halves if not _is_public(v["kind"])}
    labels = {key: first.get("rotated_at", "current") for key, first in private.items()}
    return _with_times(
        Expected(
            purpose,
            version["client"],
            labels[purpose, version["client"], version["version"]],
            _is_public(version["kind"]),
            bytes.fromhex(version["plaintext_hex"]),
            None,
        )
        for purpose, version in halves
    )


def expected_of_small_redis(dump: Manifest) -> list[Expected]:
    """Every key of the small dump; entries without a kind belong to others."""
    files = [entry for entry in dump["entries"] if "kind" in entry]
    return _with_times(expected_of_small({"files": files}))


def expected_of_small(manifest: Manifest) -> list[Expected]:
    """Every file that is a sound key; halves of a pair belong together by rank."""
    rings: dict[tuple[str, str | None, bool], list[dict[str, Any]]] = {}
    for file in manifest["files"]:
        if "expect" not in file:
            key = _purpose(file["kind"]), file["client"], file["role"] == "public"
            rings.setdefault(key, []).append(file)
    expected = []
    for (purpose, client, is_public), files in rings.items():
        labels = [file["version"] for file in _by_age(rings.get((purpose, client, False), files))]
        for label, file in zip(labels, _by_age(files), strict=True):
            content = bytes.fromhex(file["plaintext_hex"])
            expected.append(Expected(purpose, client, label, is_public, content, None))
    return expected


def listed_by_acra(listing: list[dict[str, Any]]) -> Counter[Listed]:
    """What `acra-keys list --rotated-keys --json` printed, in the words of keyfs."""
    return Counter(
        (
            LISTED_PURPOSES[row["Purpose"]],
            row.get("ClientID"),
            row["KeyID"].endswith(".pub"),
            row["State"] == "current",
        )
        for row in listing
    )


def _with_times(expected: Iterable[Expected]) -> list[Expected]:
    """The time of each version is the stamp of the one before it; that of the oldest is not known."""
    found = list(expected)
    labels: dict[tuple[str, str | None], list[str]] = {}
    for one in found:
        if not one.public and one.version != "current":
            labels.setdefault((one.purpose, one.client), []).append(one.version)
    timed = []
    for one in found:
        before = [
            label
            for label in labels.get((one.purpose, one.client), [])
            if one.version == "current" or label < one.version
        ]
        timed.append(replace(one, written_ns=parse_stamp(max(before)) if before else None))
    return timed


def _by_age(files: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(files, key=lambda file: (file["version"] == "current", file["version"]))


def _purpose(kind: str) -> str:
    kind = kind.removesuffix("-public") if kind.startswith("legacy") else kind
    return PURPOSES.get(kind, kind)


def _is_public(kind: str) -> bool:
    return kind.endswith("-public")


@dataclass(frozen=True)
class Shown:
    """One file of a mount: what stat and fstat say and what reading it gives, bytes or an error number."""

    stat: os.stat_result
    fstat: os.stat_result | None
    content: bytes | int


@dataclass(frozen=True)
class View:
    """A whole mount at one moment, without `.keyfs`."""

    files: dict[str, Shown]
    directories: dict[str, os.stat_result]

    def content(self, path: str) -> bytes:
        """The bytes of a file; the path of one that did not open is an AssertionError."""
        shown = self.files[path].content
        assert isinstance(shown, bytes), path
        return shown


def view_of(mountpoint: Path) -> View:
    """Walk the mount, and open every file once."""
    files: dict[str, Shown] = {}
    directories = {".": mountpoint.stat()}
    for path in _walk(mountpoint):
        name = str(path.relative_to(mountpoint))
        if stat.S_ISDIR(path.lstat().st_mode):
            directories[name] = path.lstat()
        else:
            files[name] = _shown(path)
    return View(files, directories)


def _walk(directory: Path) -> Iterator[Path]:
    for path in directory.iterdir():
        if path.name != ".keyfs":
            yield path
            if path.is_dir():
                yield from _walk(path)


def _shown(path: Path) -> Shown:
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError as exc:
        return Shown(path.lstat(), None, exc.errno or 0)
    with os.fdopen(fd, "rb", buffering=0) as file:
        return Shown(path.lstat(), os.fstat(fd), file.readall())
