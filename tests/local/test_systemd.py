"""`credential:` in units of a real systemd, with LoadCredential= and LoadCredentialEncrypted=."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from keyfs.testing.own_systemd import Ran, run_units
from keyfs.testing.stores import restore_real_store

VECTORS = Path(__file__).parents[1] / "vectors"
KEYFS = f"{shlex.quote(sys.executable)} -m keyfs"
READ = f"ExecStart={KEYFS} read storage-sym/alice"

ENCRYPT = """
systemd-creds setup
for name in acra other; do
    systemd-creds encrypt --with-key=host --name=$name "$PLACE/key" "$PLACE/$name.sealed"
done
"""


@dataclass(frozen=True)
class Booted:
    ran: dict[str, Ran]
    key: bytes
    place: Path


@pytest.fixture(scope="module")
def booted(fuse_required: None, tmp_path_factory: pytest.TempPathFactory) -> Booted:
    """One start of systemd for all tests, with a service for each."""
    place = tmp_path_factory.mktemp("systemd")
    store = restore_real_store(VECTORS, "v1-dir", place)
    key = place / "key"
    key.touch(mode=0o600)
    key.write_text(store.master_key)
    (place / "mount").mkdir()
    settings = f'Environment="KEYFS_STORE={store.uri}" KEYFS_MASTER_KEY=credential:acra'
    mount = f"{KEYFS} mount mount && cat mount/storage-sym/alice/current && {KEYFS} umount mount"
    units = {
        "plain": f"{settings}\nLoadCredential=acra:{key}\n{READ}",
        "sealed": f"{settings}\nLoadCredentialEncrypted=acra:{place}/acra.sealed\n{READ}",
        "renamed": f"{settings}\nLoadCredentialEncrypted=acra:{place}/other.sealed\n{READ}",
        "without": f"{settings}\n{READ}",
        "other": f"{settings}\nLoadCredential=other:{key}\n{READ}",
        "mounts": f"{settings}\nLoadCredentialEncrypted=acra:{place}/acra.sealed\nWorkingDirectory={place}\n"
        f"ExecStart=/bin/sh -c {shlex.quote(mount)}",
        "user": f"User=nobody\nLoadCredential=acra:{key}\n"
        f"ExecStart=/bin/sh -c 'cd $CREDENTIALS_DIRECTORY && stat -c %%a acra && cat acra'",
    }
    answer = store.manifest["acra_keys_read"]["client/alice/symmetric"]["hex"]
    return Booted(run_units(place, units, ENCRYPT), bytes.fromhex(answer), place)


def test_a_credential_opens_what_acra_wrote(booted: Booted) -> None:
    assert booted.ran["plain"] == Ran("0", booted.key, "")


def test_an_encrypted_credential_opens_what_acra_wrote(booted: Booted) -> None:
    assert booted.ran["sealed"] == Ran("0", booted.key, "")
    sealed = (booted.place / "acra.sealed").read_bytes()
    assert (booted.place / "key").read_bytes() not in sealed


def test_a_mount_goes_on_with_a_credential_in_the_background(booted: Booted) -> None:
    assert booted.ran["mounts"] == Ran("0", booted.key, "")


def test_a_unit_without_credentials_is_told_what_it_lacks(booted: Booted) -> None:
    ran = booted.ran["without"]
    assert (ran.status, ran.out) == ("7", b"")
    assert "LoadCredentialEncrypted=acra:PATH" in ran.err
    assert ran.err.count("\n") == 1


def test_a_unit_with_another_credential_is_told_its_name(booted: Booted) -> None:
    ran = booted.ran["other"]
    assert (ran.status, ran.out) == ("7", b"")
    assert "credential /run/credentials/other.service/acra is not there" in ran.err


def test_systemd_itself_refuses_a_credential_that_was_sealed_under_another_name(booted: Booted) -> None:
    assert booted.ran["renamed"] == Ran("243", b"", "")


def test_what_systemd_gives_another_user_has_a_mode_that_is_taken(booted: Booted) -> None:
    """See test_credential: 0440 is 0400 and an access list."""
    ran = booted.ran["user"]
    assert ran.status == "0", ran.err
    mode, _, text = ran.out.partition(b"\n")
    assert mode in (b"400", b"440")
    assert text == (booted.place / "key").read_bytes()
