"""Own purposes at the command line: whatever opens a key store knows them, and Acra's part never does."""

import os
import shutil
from pathlib import Path

import pytest
from command_line import keyfs
from own_commands import (
    ABSENT,
    FINDINGS,
    MATERIAL,
    NAME,
    OK,
    REFUSED,
    SETTINGS,
    UNSEALED,
    WWW,
    annex,
    done,
    part_of,
    rows,
    run,
    undeclared,
)

from keyfs.core.names import CURRENT
from keyfs.core.secret import Secret
from keyfs.core.staging import SIZE_LIMIT
from keyfs.testing.live import LiveStore, new_live_store
from keyfs.testing.own import DECLARED


@pytest.fixture
def store(tmp_path: Path) -> LiveStore:
    return new_live_store(tmp_path, DECLARED)


# --- single keys ---


def test_a_key_from_its_first_version_to_its_last(store: LiveStore) -> None:
    done(store, "generate", WWW)
    first = done(store, "read", WWW)
    assert first.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    done(store, "rotate", WWW)
    second = done(store, "read", WWW)
    assert second != first
    done(store, "rotate", WWW, "--from-file", "-", stdin=first)
    retired, _, current = rows(store, "--versions", WWW)
    assert (retired[:2], current) == (("tls", "www.example.org"), (*retired[:2], CURRENT, len(first)))
    assert done(store, "read", f"{WWW}/{retired[2]}") == first == done(store, "read", WWW)
    done(store, "destroy", f"{WWW}/{retired[2]}")
    assert len(rows(store, "--versions", WWW)) == 2
    assert run(store, "destroy", f"{WWW}/{CURRENT}").code == REFUSED


def test_keys_without_clients_and_of_other_kinds(store: LiveStore) -> None:
    done(store, "generate", "aes/a")
    done(store, "generate", "db/main")
    done(store, "generate", "site", "--from-file", "-", stdin=b"any\0bytes\n")
    assert rows(store) == [
        ("aes", "a", CURRENT, 48),
        ("db", "main", CURRENT, 20),
        ("site", None, CURRENT, 10),
    ]
    assert done(store, "read", "site") == done(store, "read", "site/@global/current") == b"any\0bytes\n"
    assert rows(store, "db") == rows(store, "db/main") == [("db", "main", CURRENT, 20)]


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "words"),
    [
        (["generate", "cert/www"], b"", REFUSED, "cert keys are not generated, only imported"),
        (
            ["generate", "cert/www", "--from-file", "-"],
            b"no pem\n",
            MATERIAL,
            "not a cert key: this is no PEM",
        ),
        (["generate", "aes/a", "--from-file", "-"], b"k" * 49, MATERIAL, "a aes key is 48 bytes, not 49"),
        (["generate", "db/a", "--from-file", "-"], b"a\tb\n", MATERIAL, "one line of text"),
        (["generate", "site", "--from-file", "-"], b"", MATERIAL, "has 1 to 65536 bytes, not 0"),
        (["generate", "ttls/a"], b"", NAME, "unknown purpose 'ttls'"),
        (["generate", "tls/-x"], b"", NAME, "cannot be a client of tls"),
        (["generate", "tls"], b"", NAME, "tls keys belong to a client"),
        (["generate", "site/a"], b"", NAME, "site has no clients"),
        (["rotate", "tls/absent"], b"", ABSENT, "there is no key tls/absent to rotate"),
        (["read", "tls/absent"], b"", ABSENT, "no key tls/absent"),
        (["read", "tls/www", "--public"], b"", ABSENT, "no key tls/www"),
    ],
)
def test_what_is_refused(store: LiveStore, arguments: list[str], stdin: bytes, code: int, words: str) -> None:
    ran = run(store, *arguments, stdin=stdin)
    assert (ran.code, words in ran.refusal()) == (code, True), ran.err
    assert not rows(store)


def test_a_file_that_is_too_long_is_never_cut_to_fit(store: LiveStore, tmp_path: Path) -> None:
    """Not even where the cut would fall behind a newline, and one newline would be dropped."""
    config = tmp_path / "strip.toml"
    config.write_text('[purpose.site]\nkind = "opaque"\nnewline = "strip-one"\nglobal = true\n')
    for data in (b"k" * SIZE_LIMIT + b"\nmore", b"k" * SIZE_LIMIT + b"\n\n", b"k" * (SIZE_LIMIT + 1)):
        ran = run(
            store, "generate", "site", "--from-file", "-", stdin=data, more={"KEYFS_CONFIG": str(config)}
        )
        assert ran.code == MATERIAL
    done(
        store,
        "generate",
        "site",
        "--from-file",
        "-",
        stdin=b"k" * SIZE_LIMIT + b"\n",
        more={"KEYFS_CONFIG": str(config)},
    )
    assert rows(store) == [("site", None, CURRENT, SIZE_LIMIT)]


def test_a_bad_declaration_ends_every_command(store: LiveStore, tmp_path: Path) -> None:
    config = tmp_path / "bad.toml"
    config.write_text('[purpose.storage]\nkind = "pem"\n')
    for command in (["list"], ["generate", "storage/alice1"], ["check"]):
        ran = run(store, *command, more={"KEYFS_CONFIG": str(config)})
        assert (ran.code, "purpose 'storage'" in ran.refusal()) == (SETTINGS, True)


def test_nothing_is_made_before_it_is_needed(store: LiveStore) -> None:
    done(store, "generate", "storage/alice1")
    done(store, "rotate", "storage/alice1")
    done(store, "list")
    assert run(store, "rotate", WWW, "--from-file", "/nowhere").code == SETTINGS
    done(store, "check")
    assert not annex(store).exists()
    done(store, "generate", WWW)
    assert annex(store).stat().st_mode & 0o777 == 0o700


def test_who_declares_nothing_sees_and_opens_nothing(store: LiveStore) -> None:
    done(store, "generate", "storage/alice1")
    done(store, "generate", WWW)
    annex(store).chmod(0o755)  # would be refused by whoever opened it
    assert keyfs("list", environment=undeclared(store)).out.count(b"\n") == 3
    assert keyfs("check", environment=undeclared(store)).code == OK
    assert keyfs("read", WWW, environment=undeclared(store)).code == NAME
    assert "chmod 700" in run(store, "list").refusal()


def test_no_kms_with_a_key_for_each_client_seals_them(store: LiveStore) -> None:
    uri = "awskms-per-client:?region=eu-west-1&endpoint=http://127.0.0.1:1"
    somebody = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    ran = run(store, "generate", WWW, more={"KEYFS_MASTER_KEY": uri, **somebody})
    assert (ran.code, "only a master key" in ran.refusal()) == (REFUSED, True)
    assert not rows(store)


# --- check ---


def test_a_damaged_key_is_a_fault(store: LiveStore) -> None:
    done(store, "generate", WWW)
    done(store, "generate", "aes/a")
    _, part, path = part_of(store, WWW)
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    ran = run(store, "check")
    assert ran.code == FINDINGS
    assert ran.out.decode().split("\t")[:3] == ["fault", "unreadable", f"{WWW}/{CURRENT}"]
    assert part.name in ran.out.decode()
    assert run(store, "read", WWW).code == UNSEALED


def test_what_is_not_declared_is_noted_and_no_fault(store: LiveStore, tmp_path: Path) -> None:
    done(store, "generate", WWW)
    done(store, "generate", "aes/a")
    config = tmp_path / "less.toml"
    config.write_text('[purpose.aes]\nkind = "symmetric"\nsize = 48\n')
    ran = run(store, "check", more={"KEYFS_CONFIG": str(config)})
    assert ran.code == OK
    verdict, code, where, why = ran.out.decode().rstrip("\n").split("\t")
    assert (verdict, code, why) == (
        "note",
        "stray",
        "not declared: the configuration has no [purpose.tls] for it",
    )
    assert where.startswith(f"own//{WWW}/")


def test_a_key_under_another_stamp_client_or_purpose_does_not_open(store: LiveStore) -> None:
    """And a repair leaves the one alone that does."""
    for label in (WWW, "cert/www", "tls/other"):
        done(store, "generate", label, "--from-file", "-", stdin=done_pem())
    done(store, "generate", "storage-sym/alice1")
    _, _, path = part_of(store, WWW)
    later = path.with_name("2099-01-01T00:00:00.000000001")
    for target in (
        later,
        annex(store) / "cert" / "www" / later.name,
        annex(store) / "tls" / "other" / later.name,
    ):
        shutil.copy2(path, target)
    before = sorted(annex(store).rglob("*"))
    ran = run(store, "check", "--repair")
    assert ran.code == FINDINGS
    found = [line.split("\t")[:3] for line in ran.out.decode().splitlines()]
    assert found == [["fault", "unreadable", f"{ref}/current"] for ref in ("cert/www", "tls/other", WWW)]
    assert sorted(annex(store).rglob("*")) == before
    assert done(store, "read", f"{WWW}/{path.name}") == done_pem()


def done_pem() -> bytes:
    """A PEM that is no secret."""
    return b"-----BEGIN THING-----\nAAEC\n-----END THING-----\n"


def test_a_left_over_is_found_and_set_aside(store: LiveStore) -> None:
    done(store, "generate", WWW)
    _, _, path = part_of(store, WWW)
    left = path.with_name(f"{path.name}123456")
    left.write_bytes(b"half")
    os.utime(left, (1, 1))
    assert run(store, "check").code == FINDINGS
    ran = run(store, "check", "--repair")
    assert (ran.code, ran.out.split(b"\t")[:2]) == (OK, [b"mended", b"left-over"])
    assert not left.exists()
    [aside] = (annex(store).with_name("own.keyfs") / "set-aside").rglob(left.name)
    assert aside.read_bytes() == b"half"


def test_sealed_for_one_place_only(store: LiveStore) -> None:
    """What keyfs wrote opens with the context that its documentation gives, and with no other."""
    done(store, "generate", "site", "--from-file", "-", stdin=b"site")
    ref, part, path = part_of(store, "site/@global")
    with store.opened() as (keys, _):
        assert keys.protection is not None
        label = keys.layout.label(ref, part.name)
        assert label.context.endswith(path.name.encode())
        assert keys.protection.unseal(path.read_bytes(), label) == Secret(b"site")
