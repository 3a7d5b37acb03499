"""A key service whose Python package is missing is one line that says how to get it, and exit code 2."""

import re
from pathlib import Path

import pytest

from keyfs.testing.mounted import run_keyfs

AWS = "boto(3|core)"  # either may be missed first; one brings the other
SERVICES = {
    "awskms:alias/acra": (AWS, "boto3"),
    "awskms-per-client:alias/acra": (AWS, "boto3"),
    "pkcs11:object=acra?module-path=/no/such.so": ("pkcs11", "'keyfs[pkcs11]'"),
    "vault-transit:acra?address=http://127.0.0.1:1": ("hvac", "'keyfs[vault]'"),
    "vault:secret/acra?address=http://127.0.0.1:1": ("hvac", "'keyfs[vault]'"),
}


def assert_named(line: str, uri: str) -> None:
    package, wanted = SERVICES[uri]
    said = re.match(
        "keyfs: '([^']+)' master keys need the Python package (.+): python3 -m pip install (.+)\n$", line
    )
    assert said, line
    scheme, named, command = said.groups()
    assert (scheme, command) == (uri.partition(":")[0], wanted)
    assert re.fullmatch(package, named)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A store, and no such packages: also in the processes that keyfs starts to fetch a key."""
    place = tmp_path / "missing"
    place.mkdir()
    for name in ("boto3", "botocore", "hvac", "pkcs11"):
        (place / f"{name}.py").write_text(f"raise ModuleNotFoundError('blocked', name={name!r})\n")
    made = {"KEYFS_STORE": f"dir:{tmp_path}/keys", "PYTHONPATH": str(place), "ACRA_MASTER_KEY": "AAAA"}
    assert run_keyfs("init", environment=made).returncode == 0
    return made


@pytest.mark.parametrize("uri", SERVICES)
def test_a_missing_package_is_named_with_the_command_that_brings_it(
    environment: dict[str, str], uri: str
) -> None:
    done = run_keyfs("check", environment=environment | {"KEYFS_MASTER_KEY": uri})
    assert (done.returncode, done.stdout) == (2, b"")
    assert_named(done.stderr.decode(), uri)


@pytest.mark.parametrize("uri", [uri for uri in SERVICES if not uri.startswith(("vault:", "awskms-"))])
def test_nor_does_wrapping_go_on_without_it(environment: dict[str, str], uri: str) -> None:
    done = run_keyfs("master-key", "generate", "--wrap", uri, "--create", environment=environment)
    assert (done.returncode, done.stdout) == (2, b"")
    assert_named(done.stderr.decode(), uri)
