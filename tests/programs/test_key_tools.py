"""Tools that read a key file once: OpenJDK's keytool, GnuPG, OpenSSL. Their next run has the next version."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from consuming_site import Site, site

from keyfs.testing.certificates import SERVER_NAME, Authority
from keyfs.testing.mounted import keyfs_environment
from keyfs.testing.needed import need


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory, fuse_required: None) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("tools")) as made:
        yield made


def ran(*words: str | Path, home: Path | None = None) -> str:
    """What a program prints; it must succeed."""
    environment = keyfs_environment({} if home is None else {"GNUPGHOME": str(home)})
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def openssl_key(place: Path) -> bytes:
    """A new private key as PEM."""
    ran(
        "openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", place / "pem"
    )
    return (place / "pem").read_bytes()


def test_openssl_signs_with_the_key_that_is_current(keys: Site, tmp_path: Path) -> None:
    need("openssl")
    current = keys.make("tls/signer", openssl_key(tmp_path))
    (tmp_path / "text").write_text("to be signed")
    publics = []
    for number in range(2):
        ran("openssl", "dgst", "-sign", current, "-out", tmp_path / "signature", tmp_path / "text")
        ran("openssl", "pkey", "-in", current, "-pubout", "-out", tmp_path / f"public{number}")
        publics.append((tmp_path / f"public{number}").read_bytes())
        words = ("openssl", "dgst", "-verify", tmp_path / f"public{number}", "-signature")
        assert ran(*words, tmp_path / "signature", tmp_path / "text") == "Verified OK\n"
        current.write_bytes(openssl_key(tmp_path))
    assert publics[0] != publics[1]


def test_openssl_writes_a_new_key_into_the_mount(keys: Site, tmp_path: Path) -> None:
    need("openssl")
    old = openssl_key(tmp_path)
    current = keys.make("tls/generated", old)
    ran("openssl", "genpkey", "-algorithm", "ED25519", "-out", current)
    assert ran("openssl", "pkey", "-in", current, "-noout", "-text").startswith("ED25519 Private-Key")
    (retired,) = set(os.listdir(current.parent)) - {"current", "rotate"}
    assert (current.parent / retired).read_bytes() == old


def key_store(authority: Authority, alias: str) -> bytes:
    """A PKCS#12 file as Java programs have it."""
    certificate, key = authority.issue(alias, [SERVER_NAME])
    words = ("openssl", "pkcs12", "-export", "-name", alias, "-passout", "pass:changeit")
    path = key.with_suffix(".p12")
    ran(*words, "-in", certificate, "-inkey", key, "-out", path)
    return path.read_bytes()


def test_keytool_lists_the_key_store_that_is_current(keys: Site, tmp_path: Path) -> None:
    need("keytool")
    words = (
        "keytool",
        "-list",
        "-storetype",
        "PKCS12",
        "-storepass",
        "changeit",
        "-keystore",
    )
    authority = Authority(tmp_path)
    current = keys.make("java/app", key_store(authority, "first"))
    assert "first, " in ran(*words, current)
    current.write_bytes(key_store(authority, "second"))
    listed = ran(*words, current)
    assert "second, " in listed
    assert "first, " not in listed


@contextmanager
def gnupg_home(place: Path) -> Iterator[Path]:
    """A home for GnuPG, whose agent ends with the block."""
    place.mkdir(mode=0o700)
    try:
        yield place
    finally:
        ran("gpgconf", "--kill", "all", home=place)


def gnupg_key(place: Path, name: str) -> bytes:
    """A new secret key as it is exported."""
    batch = ("gpg", "--batch", "--quiet", "--passphrase", "", "--pinentry-mode", "loopback")
    with gnupg_home(place) as home:
        ran(*batch, "--quick-generate-key", name, "ed25519", home=home)
        ran(*batch, "--armor", "--output", home / "key", "--export-secret-keys", name, home=home)
        return (home / "key").read_bytes()


def test_gpg_imports_the_secret_key_that_is_current(keys: Site, tmp_path: Path) -> None:
    need("gpg", "gpgconf")
    names = ["first@keys.example", "second@keys.example"]
    first, second = (gnupg_key(tmp_path / str(number), name) for number, name in enumerate(names))
    current = keys.make("gnupg/signer", first)
    with gnupg_home(tmp_path / "h") as home:
        for name in names:
            ran("gpg", "--batch", "--quiet", "--import", current, home=home)
            assert name in ran("gpg", "--batch", "--list-secret-keys", name, home=home)
            current.write_bytes(second)
