"""The files under `.keyfs`: the status as it is, and the inventory, rendered once for each change of it."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

from keyfs.broker.inventory import inventory
from keyfs.broker.keystore import KeyStore
from keyfs.core.inventory import as_json, as_tsv


@dataclass(frozen=True, slots=True)
class MountInfo:
    """What does not change while a mount lives. Holds no secrets."""

    version: str
    pid: int
    mountpoint: str
    store: str
    layout: str
    read_only: bool
    started: str  # RFC 3339
    supervision: Mapping[str, object] = field(default_factory=dict)  # what a supervisor says of itself


def controls(
    keys: KeyStore, info: MountInfo, state: Callable[[], str] = lambda: "fresh"
) -> Mapping[str, Callable[[], bytes]]:
    """The control files by name, each with what renders it.

    Args:
        keys: what is mounted.
        info: of the mount.
        state: whether what is served is fresh.
    """

    def status() -> dict[str, object]:
        return _status(keys, info, state())

    def once(render: Callable[[], str]) -> Callable[[], bytes]:
        """Render again only after a change: every `stat` asks for the length."""
        seen: list[tuple[tuple[int, str], bytes]] = []

        def content() -> bytes:
            now = (keys.index.generation, state())
            if not seen or seen[0][0] != now:
                seen[:] = [(now, render().encode())]
            return seen[0][1]

        return content

    return {
        # A mountpoint or a store may have a path that is not UTF-8.
        "status": lambda: os.fsencode("".join(f"{key}: {_text(value)}\n" for key, value in status().items())),
        "status.json": lambda: b"%b\n" % json.dumps(status(), indent=2).encode(),
        "inventory.json": once(lambda: as_json(inventory(keys, with_history=True))),
        "inventory.tsv": once(lambda: as_tsv(inventory(keys, with_history=True))),
    }


def _status(keys: KeyStore, info: MountInfo, state: str) -> dict[str, object]:
    protection = keys.protection
    facts = asdict(info)
    supervision = facts.pop("supervision")
    of_mount = {name: facts.pop(name) for name in ("read_only", "started")}
    return {
        **facts,
        "master_key": "none" if protection is None else ",".join(protection.described),
        "sealer": "none" if protection is None else protection.engine,
        **of_mount,
        **supervision,
        "state": state,
        "keys": len(keys.index),
        "strays": len(keys.index.strays),
    }


def _text(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
