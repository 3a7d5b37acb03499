"""Variants of one key ring, and what real Acra says of each: keyfs says the same.

Where keyfs is deliberately kinder than Acra is tested elsewhere: a destroyed version leaves the others
readable (`test_ring_store`), and so do stray files, empty rings and rings that do not verify.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from keyfs.core.names import Half, KeyRef
from keyfs.core.stamps import NANOSECONDS
from keyfs.errors import RingInvalid, UnsealFailed
from keyfs.layout.v2 import LayoutV2
from keyfs.layout.v2_names import is_pair, key_at
from keyfs.master.encoding import decode
from keyfs.seal.pure import PureSealer
from keyfs.seal.rings import SignedRings
from keyfs.seal.signature import Signer
from keyfs.store.rings import RingStore
from keyfs.testing.builders import Keys, on_store
from keyfs.testing.medium import Medium
from keyfs.testing.memory_store import MemoryStore

VERDICTS: Final = json.loads((Path(__file__).parents[1] / "vectors/v2-reader-verdicts.json").read_bytes())
CASES: Final = {case["name"]: case for case in VERDICTS["cases"]}
# Acra crashes on these, which no verdict of ours can be.
CRASHES: Final = {name for name, case in CASES.items() if "crash" in case["acra"]}


def opened(case: dict[str, Any]) -> tuple[Keys, KeyRef]:
    master_key = decode(VERDICTS["master_key_env"]["ACRA_MASTER_KEY"].encode(), "v2")
    assert master_key.signature is not None
    signer, medium = Signer(master_key.signature), Medium()
    medium.put(f"{case['ring']}.keyring", bytes.fromhex(case["keyring_hex"]))
    store = RingStore(MemoryStore(medium), SignedRings(lambda: [signer]), is_pair)
    keys = on_store(store, layout=LayoutV2(), sealer=PureSealer(master_key.encryption))
    found = key_at(case["ring"])
    assert found is not None
    return keys, KeyRef(*found)


def moment_ns(text: str) -> int:
    seconds = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    return int(seconds) * NANOSECONDS


def first_of_each(rows: list[list[Any]]) -> dict[str, list[Any]]:
    """By number; Acra reads from the last element to the first, and takes the first by number."""
    return {str(row[0]): row for row in rows}


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case["acra"]["opened"]])
def test_what_acra_opens_is_read_as_acra_reads_it(name: str) -> None:
    case = CASES[name]
    keys, ref = opened(case)
    ring = keys.keys.ring(ref)
    wanted = first_of_each(case["acra"]["keys"])
    shown = {v.number: (v.state, v.created_ns, v.until_ns) for v in ring.versions}
    assert shown == {number: (row[1], moment_ns(row[2]), moment_ns(row[3])) for number, row in wanted.items()}
    for number, row in wanted.items():
        if len(row[4]) == 64:
            assert keys.secret(ref, number).hex() == row[4]
        else:
            with pytest.raises(UnsealFailed):
                keys.secret(ref, number)
    current = str(case["acra"]["current"])
    assert [v.number for v in ring.versions if v.id == "current"] == [n for n in [current] if n in wanted]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case["acra"]["opened"]])
def test_what_acra_refuses_is_a_stray_and_one_typed_error(name: str) -> None:
    keys, ref = opened(CASES[name])
    ring_name = f"{CASES[name]['ring']}.keyring"
    assert list(keys.keys.index.strays) == [ring_name]
    for reading in (lambda: keys.keys.ring(ref), lambda: keys.keys.read(ref, "1", Half.SECRET)):
        with pytest.raises(RingInvalid):
            reading()
    with pytest.raises(RingInvalid, match=f"^{ring_name}: "):
        keys.store.get(f"{ring_name}#1")
    before = dict(keys.store.list_all().strays)
    with pytest.raises(RingInvalid):
        keys.writer.generate(ref)
    assert keys.store.list_all().strays == before


def test_there_are_verdicts_of_both_kinds() -> None:
    kinds = {case["acra"]["opened"] for case in CASES.values()}
    assert (kinds, len(CASES) > 30, len(CRASHES)) == ({True, False}, True, 2)


def test_of_several_with_one_number_the_others_are_strays() -> None:
    keys, _ = opened(CASES["duplicate seqnum"])
    assert keys.keys.index.strays == {
        "client/alice/hmac-sym.keyring#1?0": "its number is another version's, or is none"
    }
