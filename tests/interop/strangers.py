"""What readers that share no code with keyfs find in a key store, of either layout, wherever it lies."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from independent_reader import Contents, read_redis, read_store
from ring_reader import MARK, read_ring

from keyfs.core.names import KeyRef, parse_key_ref
from keyfs.testing.layout_site import Told
from keyfs.testing.redis_servers import RedisServer

SUFFIX = ".keyring"
LEFT_ALONE = {"version", ".lock"}


@dataclass(frozen=True)
class Raw:
    """All files of a key store, by name, as the medium holds them; or where they lie."""

    root: Path | None = None
    server: RedisServer | None = None
    prefix: str = ""

    def read_v1(self, master_key: Path) -> dict[KeyRef, list[Told]]:
        key = base64.b64decode(master_key.read_text())
        if self.root is not None:
            return _told_in_v1(read_store(self.root, None, key))
        dump = {f"{self.prefix}/{name}": data.decode() for name, data in self._values().items()}
        return _told_in_v1(read_redis(dump, self.prefix, key))

    def read_v2(self, master_key: Path) -> dict[KeyRef, list[Told]]:
        document = json.loads(base64.b64decode(master_key.read_text()))
        keys = [base64.b64decode(document[name]) for name in ("encryption", "signature")]
        files = self.files()
        assert files["version"] == MARK
        names = set(files) - LEFT_ALONE
        assert all(name.endswith(SUFFIX) for name in names), f"more than rings: {names}"
        return {_ref_of(name): _told_in_v2(name, files, *keys) for name in names}

    def files(self) -> dict[str, bytes]:
        """Their bytes."""
        if self.root is not None:
            found = [path for path in self.root.rglob("*") if path.is_file()]
            return {str(path.relative_to(self.root)): path.read_bytes() for path in found}
        values = self._values()
        return {n: v if n == "version" else base64.b64decode(v, validate=True) for n, v in values.items()}

    def put(self, name: str, data: bytes) -> None:
        """Write one, past keyfs."""
        if self.root is not None:
            (self.root / name).parent.mkdir(0o700, exist_ok=True, parents=True)
            (self.root / name).touch(0o600)
            (self.root / name).write_bytes(data)
        else:
            assert self.server is not None
            self.server.admin.set(f"{self.prefix}/{name}", base64.b64encode(data))

    def _values(self) -> dict[str, bytes]:
        assert self.server is not None
        names = self.server.admin.keys(f"{self.prefix}/*")
        return {n.decode().removeprefix(f"{self.prefix}/"): self.server.admin.get(n) for n in names}


def _told_in_v1(contents: Contents) -> dict[KeyRef, list[Told]]:
    assert not contents.ignored, contents.ignored
    halves = contents.by_label()
    told: dict[KeyRef, list[Told]] = {}
    for (purpose, client, half, label), data in halves.items():
        if half == "private":
            ref = parse_key_ref(f"{purpose}/{client or '@global'}")
            is_current = label == "current"
            pair = data, halves.get((purpose, client, "public", label))
            told.setdefault(ref, []).append(Told("" if is_current else label, pair, is_current, None))
    return told


def _ref_of(name: str) -> KeyRef:
    parts = name.removesuffix(SUFFIX).split("/")
    purpose, client = parts[-1], parts[1] if parts[0] == "client" else "@global"
    return parse_key_ref(f"{purpose}/{client}")


def _told_in_v2(name: str, files: Mapping[str, bytes], encryption: bytes, signature: bytes) -> list[Told]:
    path = name.removesuffix(SUFFIX)
    ring = read_ring(path, files[name], encryption, signature)
    assert ring.purpose == path.encode()
    numbers = [key.seqnum for key in ring.keys]
    assert numbers == sorted(set(numbers))
    for key in ring.keys:
        assert (key.plain is None) == (key.state == 6)
        assert (key.until - key.since).days == 365
    return [Told(str(k.seqnum), (k.plain, k.public), k.seqnum == ring.current, k.state) for k in ring.keys]
