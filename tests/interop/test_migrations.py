"""Key stores that real Acra tools made, migrated: strangers read in them what Acra reads in the source."""

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from independent_reader import Found, read_store
from ring_reader import ReadRing, read_ring

from keyfs.core.stamps import parse_stamp
from keyfs.testing.mounted import run_keyfs
from keyfs.testing.redis_servers import RedisServer
from keyfs.testing.stores import RealStore, restore_real_store

VECTORS = Path(__file__).parents[1] / "vectors"
ENCRYPTION, SIGNATURE = b"E" * 32, b"S" * 32
PREFIX = "there"
LIFETIME_S = 365 * 86_400
Key = tuple[str, str | None]  # purpose, client


def key_of_v2(encryption: bytes, signature: bytes) -> str:
    document = {"encryption": encryption, "signature": signature}
    text = json.dumps({name: base64.b64encode(key).decode() for name, key in document.items()})
    return base64.b64encode(text.encode()).decode()


def run(*words: str, **environment: str) -> dict[str, Any]:
    done = run_keyfs(*words, environment=environment)
    assert done.returncode == 0, done.stderr.decode()
    found: dict[str, Any] = json.loads(done.stdout) if "--json" in words else {}
    return found


def versions_of(keys: tuple[Found, ...]) -> dict[Key, list[tuple[Found, Found | None]]]:
    """Both halves of every version of each key, oldest first, the current one last."""
    found: dict[Key, list[tuple[Found, Found | None]]] = {}
    publics: dict[Key, list[Found]] = {}
    for key in keys:
        if key.half == "public":
            publics.setdefault((key.purpose, key.client), []).append(key)
    for key in keys:
        if key.half != "public":
            found.setdefault((key.purpose, key.client), []).append((key, None))
    return {
        key: list(zip((secret for secret, _ in pairs), publics.get(key, [None] * len(pairs)), strict=True))
        for key, pairs in found.items()
    }


def modified_ns(found: Found) -> int:
    return found.path.stat().st_mtime_ns


def path_of(key: Key) -> str:
    purpose, client = key
    return purpose if client is None else f"client/{client}/{purpose}"


@dataclass(frozen=True)
class Tour:
    """A store of Acra's that was backed up, restored as layout v2 in Redis, and migrated back."""

    real: RealStore
    source: dict[Key, list[tuple[Found, Found | None]]]
    rings: dict[str, ReadRing]
    back: dict[Key, list[tuple[Found, Found | None]]]
    report: dict[str, Any]


@pytest.fixture(scope="module", params=["v1-dir", "v1-split"])
def tour(
    request: pytest.FixtureRequest, server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Tour:
    place = tmp_path_factory.mktemp("tour")
    server.ask("FLUSHALL")
    real = restore_real_store(VECTORS, request.param, place)
    public = place / request.param / real.manifest["public_dir"] if "public_dir" in real.manifest else None
    source = read_store(real.root, public, base64.b64decode(real.master_key))
    redis, bundle, back = server.unix_uri(PREFIX), str(place / "keys.bundle"), place / "back"
    there = {"KEYFS_STORE": redis, "ACRA_MASTER_KEY": key_of_v2(ENCRYPTION, SIGNATURE)}
    run("export", "--bundle", bundle, **real.environment)
    run("init", "--layout", "v2", **there)
    run("import", "--bundle", bundle, **there)
    rings = {}
    for name in server.admin.keys(f"{PREFIX}/*.keyring"):
        path = name.decode().removeprefix(f"{PREFIX}/").removesuffix(".keyring")
        value = server.admin.get(name)
        assert value is not None
        rings[path] = read_ring(path, base64.b64decode(value, validate=True), ENCRYPTION, SIGNATURE)
    master_key = base64.b64encode(b"another master key, of 32 bytes.").decode()
    run("init", "--store", str(back))
    keys = {**there, "KEYFS_TARGET_MASTER_KEY": "env:BACK", "BACK": master_key}
    report = run("migrate", redis, str(back), "--json", **keys)
    read = read_store(back, None, base64.b64decode(master_key))
    assert not read.ignored
    return Tour(real, versions_of(source.keys), rings, versions_of(read.keys), report)


def test_every_key_byte_is_equal_and_in_the_same_order(tour: Tour) -> None:
    """History, awkward ids, poison keys and the audit log key; what Acra's manifest says is all there."""
    assert tour.back.keys() == tour.source.keys()
    for key, versions in tour.source.items():
        assert [plaintexts(halves) for halves in tour.back[key]] == [plaintexts(h) for h in versions], key
    there = [version for version in tour.real.manifest["versions"] if version["state"] != "destroyed"]
    known = {bytes.fromhex(version["plaintext_hex"]) for version in there}
    read = {text for pairs in tour.back.values() for halves in pairs for text in plaintexts(halves)}
    assert read == known
    assert tour.report["counts"]["add"] == sum(len(pairs) for pairs in tour.source.values())
    assert tour.report["verified"]["halves"] == len(there)


def plaintexts(halves: tuple[Found, Found | None]) -> list[bytes]:
    return [half.plaintext for half in halves if half is not None]


def test_times_are_equal_to_the_second_and_stamps_follow_from_them(tour: Tour) -> None:
    """A second is all that layout v2 has. A version retired when the next one came."""
    for key, versions in tour.source.items():
        since = [modified_ns(secret) // 10**9 for secret, _ in versions]
        back = tour.back[key]
        assert [modified_ns(secret) // 10**9 for secret, _ in back] == since, key
        assert [secret.stamp is None for secret, _ in back] == [
            secret.stamp is None for secret, _ in versions
        ]
        stamps = [parse_stamp(secret.stamp) // 10**9 for secret, _ in back if secret.stamp]
        assert stamps == [*since[1:], since[-1]][: len(stamps)], key


def test_a_strangers_reader_finds_the_same_in_the_rings(tour: Tour) -> None:
    """Numbers from 1, in order; dates; what is current; DER, signatures and contexts by another library."""
    assert set(tour.rings) == {path_of(key) for key in tour.source}
    for key, versions in tour.source.items():
        ring = tour.rings[path_of(key)]
        assert ring.purpose == path_of(key).encode()
        assert [one.seqnum for one in ring.keys] == list(range(1, len(versions) + 1))
        assert ring.current == (len(versions) if versions[-1][0].stamp is None else -1)
        for one, (secret, public) in zip(ring.keys, versions, strict=True):
            assert (one.plain, one.state) == (secret.plaintext, 1)
            assert one.public == (None if public is None else public.plaintext)
            assert one.format == (3 if public is None else 1)
            assert int(one.since.timestamp()) == modified_ns(secret) // 10**9
            assert int((one.until - one.since).total_seconds()) == LIFETIME_S


def test_what_layout_v1_cannot_say_is_told(tour: Tour) -> None:
    retired = sum(1 for pairs in tour.source.values() for secret, _ in pairs if secret.stamp is not None)
    notes = {code: len(note["of"]) for code, note in tour.report["notes"].items()}
    assert notes.pop("no-current", 0) == sum(1 for ring in tour.rings.values() if ring.current == -1)
    assert notes == {"stamps": retired, "validity": tour.report["counts"]["add"]}


def test_what_acra_migrates_is_migrated_to_the_same(tmp_path: Path) -> None:
    """Its own migration of the same store; only that it dates keys anew, at the moment when it ran."""
    source = restore_real_store(VECTORS, "v1-migrated", tmp_path)
    acra = restore_real_store(VECTORS, "v2-migrated", tmp_path)
    target = tmp_path / "there"
    run("init", "--store", str(target), "--layout", "v2")
    keys = {**source.environment, "KEYFS_TARGET_MASTER_KEY": "env:THERE", "THERE": acra.master_key}
    report = run("migrate", source.uri, str(target), "--json", **keys)
    document = json.loads(base64.b64decode(acra.master_key))
    opening = [base64.b64decode(document[name]) for name in ("encryption", "signature")]
    names = {str(path.relative_to(acra.root)) for path in acra.root.rglob("*.keyring")}
    assert {str(path.relative_to(target)) for path in target.rglob("*.keyring")} == names
    for name in names:
        path = name.removesuffix(".keyring")
        ours, theirs = (read_ring(path, (root / name).read_bytes(), *opening) for root in (target, acra.root))
        assert (ours.purpose, ours.current) == (theirs.purpose, theirs.current)
        facts = [[(k.seqnum, k.state, k.format, k.public, k.plain) for k in r.keys] for r in (ours, theirs)]
        assert facts[0] == facts[1]
        assert ours.keys[0].until - ours.keys[0].since == theirs.keys[0].until - theirs.keys[0].since
    assert {row["there"] for row in report["versions"]} == {"1"}
    files = {(target / name).stat().st_mode & 0o777 for name in names}
    assert files == {0o600}
    assert datetime.now(UTC) > ours.modified
