"""Key stores of either layout: how they are made, and everything that is in them."""

import os
from pathlib import Path

from bundle_site import LABELS
from copied_stores import Place

from keyfs import app
from keyfs.core.names import Half, parse_key_ref
from keyfs.master.generate import generate as new_master_key

Versions = dict[str, list[tuple[bytes | None, bytes | None]]]


def new_place(place: Path, name: str, layout: str, uri: str | None = None) -> Place:
    """An empty key store of that layout with a master key of its own."""
    key = place / f"{name}.master"
    fd = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(new_master_key(layout))
    uri = uri or f"dir:{place / name}"
    app.init_store(uri, layout)
    return Place(uri, key)


def filled(place: Place, *labels: str) -> Place:
    """The key store with three versions of each key."""
    keys, writer = app.open_keys(app.Access(place.uri, f"file:{place.master_key}"))
    keys.load()
    for label in labels or LABELS:
        ref = parse_key_ref(label)
        writer.generate(ref)
        writer.rotate(ref)
        writer.rotate(ref)
    keys.close()
    return place


def versions_in(place: Place) -> Versions:
    """Both halves of every version, oldest first, the current one last."""
    keys, _ = app.open_keys(app.Access(place.uri, f"file:{place.master_key}", undeclared=True))
    keys.load()
    found: Versions = {}
    for ring in keys.rings():
        for version in ring.versions:
            halves = [
                None if part is None else keys.reader.open(ring.ref, version, half).material.reveal()
                for half, part in ((Half.SECRET, version.secret), (Half.PUBLIC, version.public))
            ]
            found.setdefault(str(ring.ref), []).append((halves[0], halves[1]))
    keys.close()
    return found
