"""Every case of vectors/secure_cell.json gets the recorded verdict from every engine.

The engine "themis" takes part where there is a libthemis. Where there is none, test_themis_bridge.py runs
this file once more, against the real Themis core.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from themis_oracle import Oracle, OracleRefused

from keyfs.core.secret import Secret
from keyfs.errors import InvalidMaterial, UnsealFailed
from keyfs.seal.base import Sealer
from keyfs.seal.pure import PurePassphraseSealer, PureSealer
from keyfs.seal.registry import available_engines
from keyfs.seal.themis import ThemisPassphraseSealer, ThemisSealer

pytest_plugins = ["themis_oracle"]

VECTORS = Path(__file__).parents[1] / "vectors" / "secure_cell.json"
CASES: list[dict[str, Any]] = json.loads(VECTORS.read_text())["cases"]
# That one makes the WebAssembly build compute 2**31 rounds.
WASM_CASES = [case for case in CASES if not case.get("skip_wasm")]

ENGINES = [engine.name for engine in available_engines() if engine.usable]


def name_of(case: dict[str, Any]) -> str:
    return str(case["id"])


def bytes_of(case: dict[str, Any], field: str) -> bytes:
    return bytes.fromhex(case[f"{field}_hex"])


def make_sealer(engine: str, mode: str, key: bytes) -> Sealer:
    if mode == "passphrase":
        return PurePassphraseSealer(key) if engine == "pure" else ThemisPassphraseSealer(key)
    return PureSealer(Secret(key)) if engine == "pure" else ThemisSealer(Secret(key))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_keyfs_gives_the_recorded_verdict(case: dict[str, Any], engine: str) -> None:
    if not (key := bytes_of(case, "key")):
        with pytest.raises(InvalidMaterial):
            make_sealer(engine, case["mode"], key)
        return
    sealer = make_sealer(engine, case["mode"], key)
    if case["expect"] == "ok":
        opened = sealer.unseal(bytes_of(case, "sealed"), bytes_of(case, "context"))
        assert opened.reveal() == bytes_of(case, "plaintext")
    else:
        with pytest.raises(UnsealFailed):
            sealer.unseal(bytes_of(case, "sealed"), bytes_of(case, "context"))


@pytest.mark.parametrize("case", WASM_CASES, ids=name_of)
def test_the_real_core_gives_the_recorded_verdict(case: dict[str, Any], oracle: Oracle) -> None:
    arguments = case["mode"], bytes_of(case, "key"), bytes_of(case, "sealed"), bytes_of(case, "context")
    if case["expect"] == "ok":
        assert oracle.unseal(*arguments) == bytes_of(case, "plaintext")
    else:
        with pytest.raises(OracleRefused) as caught:
            oracle.unseal(*arguments)
        assert caught.value.status == case["themis_status"]


def test_the_vectors_hold_all_three_groups() -> None:
    groups = [case["group"] for case in CASES]
    assert {group: groups.count(group) for group in groups} == {"positive": 50, "variant": 9, "negative": 67}
