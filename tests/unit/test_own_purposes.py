"""Tables `[purpose.NAME]`: what they can declare, and what is refused by name, in one line."""

from pathlib import Path

import pytest

from keyfs import config
from keyfs.core.names import KeyRef, parse_key_ref, parse_version_path
from keyfs.core.own import Newline, OwnKind, OwnSpec
from keyfs.core.purposes import PURPOSES, Shape
from keyfs.errors import InvalidName, InvalidSettings
from keyfs.testing.own import PURPOSES as OWN
from keyfs.testing.own import declared

KNOWN = (*PURPOSES, *OWN.values())


def refusal(tmp_path: Path, text: str) -> str:
    path = tmp_path / "keyfs.toml"
    path.write_text(text)
    with pytest.raises(InvalidSettings) as caught:
        config.load(str(path))
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def of_tls(*lines: str) -> str:
    return "[purpose.tls]\n" + "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("lines", "spec"),
    [
        (['kind = "opaque"'], OwnSpec(OwnKind.OPAQUE)),
        (['kind = "opaque"', "generate = 65536"], OwnSpec(OwnKind.OPAQUE, generate=65536)),
        (['kind = "pem"'], OwnSpec(OwnKind.PEM)),
        (['kind = "pem"', 'generate = "rsa-3072"'], OwnSpec(OwnKind.PEM, generate="rsa-3072")),
        (['kind = "pem"', 'newline = "reject"'], OwnSpec(OwnKind.PEM, Newline.REJECT)),
        (['kind = "symmetric"', "size = 1"], OwnSpec(OwnKind.SYMMETRIC, generate=1, size=1)),
        (['kind = "password"'], OwnSpec(OwnKind.PASSWORD, Newline.STRIP_ONE)),
        (['kind = "password"', 'newline = "raw"'], OwnSpec(OwnKind.PASSWORD, Newline.RAW)),
        (["history = 0", 'kind = "opaque"'], OwnSpec(OwnKind.OPAQUE, history=0)),
    ],
)
def test_a_declaration_with_its_defaults(lines: list[str], spec: OwnSpec) -> None:
    [purpose] = declared(of_tls(*lines))
    assert (purpose.name, purpose.shape, purpose.is_global, purpose.is_pair) == (
        "tls",
        Shape.OWN,
        False,
        False,
    )
    assert purpose.own == spec


def test_purposes_come_in_the_order_of_names_and_some_are_global() -> None:
    assert [p.name for p in OWN.values()] == sorted(OWN)
    assert [p.name for p in OWN.values() if p.is_global] == ["site"]


def test_without_tables_there_are_none(tmp_path: Path) -> None:
    path = tmp_path / "keyfs.toml"
    path.write_text('store = "x"')
    assert config.load(str(path)).own_purposes() == ()


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "kind is missing: use one of opaque, pem, symmetric, password"),
        (['kind = "PEM"'], "kind cannot be 'PEM'"),
        (["kind = 7"], "'kind' must be a text in quotes"),
        (['kind = "pem"', "owners = 7"], "unknown key 'owners'"),
        (
            ['kind = "pem"', 'newline = "strip"'],
            "newline cannot be 'strip': use one of raw, strip-one, reject",
        ),
        (['kind = "pem"', "newline = true"], "'newline' must be a text in quotes"),
        (['kind = "pem"', "history = -1"], "history is a number from 0 to 10000, not -1"),
        (['kind = "pem"', "history = 10001"], "history is a number from 0 to 10000"),
        (['kind = "pem"', "history = true"], "'history' must be a whole number"),
        (['kind = "pem"', "history = 1.5"], "'history' must be a whole number"),
        (['kind = "pem"', 'history = "all"'], "'history' must be a whole number"),
        (['kind = "pem"', 'generate = "ec"'], "generate cannot be 'ec': a pem is one of ec-p256"),
        (['kind = "pem"', "generate = 256"], "generate cannot be 256"),
        (['kind = "pem"', "generate = true"], "'generate' must be a text in quotes or a whole number"),
        (['kind = "pem"', "size = 4"], "size is for symmetric keys only"),
        (['kind = "symmetric"'], "size is missing: a symmetric key has 1 to 4096 bytes"),
        (['kind = "symmetric"', "size = 0"], "size is a number from 1 to 4096, not 0"),
        (['kind = "symmetric"', "size = 4097"], "size is a number from 1 to 4096"),
        (['kind = "symmetric"', "size = 18446744073709551616"], "size is a number from 1 to 4096"),
        (['kind = "symmetric"', "size = 4", "generate = 4"], "generate is not for symmetric keys"),
        (['kind = "password"', "generate = 7"], "generate is a number from 8 to 1024, not 7"),
        (['kind = "password"', "generate = 1025"], "generate is a number from 8 to 1024"),
        (['kind = "password"', 'generate = "long"'], "generate is a number for kind password, not 'long'"),
        (['kind = "opaque"', "generate = 0"], "generate is a number from 1 to 65536"),
        (['kind = "opaque"', "generate = 65537"], "generate is a number from 1 to 65536"),
        (['kind = "opaque"', 'global = "yes"'], "'global' must be true or false"),
    ],
)
def test_a_bad_value_is_refused_by_name(tmp_path: Path, lines: list[str], words: str) -> None:
    message = refusal(tmp_path, of_tls(*lines))
    assert message.startswith("purpose 'tls': ")
    assert words in message


@pytest.mark.parametrize("name", [purpose.name for purpose in PURPOSES])
def test_no_own_purpose_is_called_as_one_of_acra(tmp_path: Path, name: str) -> None:
    assert "one of Acra's own purposes" in refusal(tmp_path, f'[purpose.{name}]\nkind = "pem"\n')


@pytest.mark.parametrize(
    "name",
    ["", ".keyfs", "@global", "a@b", "TLS", "-a", "1a", "a_b", "a.b", "a b", "a/b", "ä", "a" * 33, "a\\n"],
)
def test_a_name_that_could_clash_is_refused(tmp_path: Path, name: str) -> None:
    assert "is called with 1 to 32 of a-z 0-9 -" in refusal(tmp_path, f'[purpose."{name}"]\nkind = "pem"\n')


@pytest.mark.parametrize("text", ["purpose = 3", "[purpose]\ntls = 3", "[[purpose]]\n", 'purpose = "tls"'])
def test_what_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    assert "'purpose' must be tables: write [purpose.NAME]" in refusal(tmp_path, text)


# --- names ---


@pytest.mark.parametrize(
    "client", ["a", "www.example.org", "a-b_c", "_x", "9", "x" * 128, "current", "rotate"]
)
def test_a_client_of_an_own_purpose(client: str) -> None:
    assert parse_key_ref(f"tls/{client}", KNOWN) == KeyRef(OWN["tls"], client)


@pytest.mark.parametrize(
    "client", ["", ".x", "..", "-x", "x" * 129, "a b", "a/b", "a:b", "@global", "ä", "a\n", "a\0", "*"]
)
def test_what_is_no_client_of_an_own_purpose(client: str) -> None:
    with pytest.raises(InvalidName):
        parse_key_ref(f"tls/{client}", KNOWN)


def test_acra_clients_are_what_they_were() -> None:
    with pytest.raises(InvalidName):
        parse_key_ref("storage/www.example.org", KNOWN)


def test_a_global_own_purpose_has_no_clients() -> None:
    for text in ("site", "site/@global"):
        assert parse_key_ref(text, KNOWN) == KeyRef(OWN["site"], None)
    with pytest.raises(InvalidName, match="site has no clients"):
        parse_key_ref("site/www", KNOWN)
    assert parse_version_path("site/current", KNOWN) == (KeyRef(OWN["site"], None), "current")


def test_own_purposes_are_known_only_where_they_are_handed_in() -> None:
    with pytest.raises(InvalidName, match="unknown purpose 'tls'"):
        parse_key_ref("tls/www")
    with pytest.raises(InvalidName, match=r"use one of .*storage.*tls"):
        parse_key_ref("ttls/www", KNOWN)
