"""Key stores for tests: the ones that real Acra tools made, with their true modes and times, and new ones."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

Manifest = dict[str, Any]
_PRIVATE: Final = 0o700


@dataclass(frozen=True, slots=True)
class RealStore:
    """A key store made by Acra, restored to a scratch place. `manifest` says what Acra reads in it."""

    uri: str
    root: Path
    master_key: str  # as ACRA_MASTER_KEY holds it
    manifest: Manifest

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which keyfs opens it."""
        return {"KEYFS_STORE": self.uri, "ACRA_MASTER_KEY": self.master_key}


def restore_real_store(vectors: Path, name: str, place: Path) -> RealStore:
    """Copy the store *name* of `stores/manifest.json` under *vectors* to *place*.

    Git keeps neither 0600 nor times: both are restored from the manifest.
    """
    manifest: Manifest = json.loads((vectors / "stores" / "manifest.json").read_bytes())["stores"][name]
    root = place / name
    shutil.copytree(vectors / "stores" / name, root)
    for entry in sorted(manifest["entries"], key=lambda entry: -len(entry["path"])):
        _restore_entry(root / entry["path"], int(entry["mode"], 8), entry.get("mtime_ns"))
    private, public = manifest.get("private_dir"), manifest.get("public_dir")
    uri = f"dir:{root / private}?public={root / public}" if private and public else f"dir:{root}"
    key = manifest["master_key_env"]["ACRA_MASTER_KEY"]
    return RealStore(uri, root / private if private else root, key, manifest)


def restore_small_store(vectors: Path, name: str, place: Path) -> RealStore:
    """Copy the store `stores/small-NAME` under *vectors* to *place*, with its true modes."""
    source = vectors / "stores" / f"small-{name}"
    manifest: Manifest = json.loads((source / "manifest.json").read_bytes())
    target = place / f"small-{name}"
    shutil.copytree(source, target)
    for entry in manifest["files"]:
        _restore_entry(target / entry["path"], int(entry["mode"], 8), None)
    for directory in (path for path in target.rglob("*") if path.is_dir()):
        directory.chmod(_PRIVATE)
    roots = sorted(path for path in target.iterdir() if path.is_dir())
    uri = f"dir:{roots[0]}" if len(roots) == 1 else f"dir:{roots[0]}?public={roots[1]}"
    return RealStore(uri, roots[0], manifest["master_key_env"], manifest)


def _restore_entry(path: Path, mode: int, mtime_ns: int | None) -> None:
    path.chmod(mode)
    if mtime_ns is not None:
        os.utime(path, ns=(mtime_ns, mtime_ns))
