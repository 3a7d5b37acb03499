"""What a daemon has imported when it is ready: no client of a store or a key service that it does not use."""

import re
from pathlib import Path

import pytest

from keyfs.testing.live import new_live_store
from keyfs.testing.mounted import run_keyfs

NOT_FOR_A_DIRECTORY = {
    "boto3",
    "botocore",
    "cryptography.x509",  # by far the largest part of cryptography, for PEM views and PEM keys
    "hiredis",
    "hvac",
    "keyfs.store.redis",
    "matplotlib",
    "pkcs11",
    "redis",
    "requests",
    "rich",
    "unittest",
    "urllib3",
}


@pytest.mark.usefixtures("fuse_required")
def test_a_mount_of_a_directory_imports_no_client_of_anything_else(tmp_path: Path) -> None:
    store = new_live_store(tmp_path)
    environment = {
        **store.environment,
        "KEYFS_MASTER_KEY": "env:ACRA_MASTER_KEY",
        "ACRA_MASTER_KEY": store.master_key.read_text().strip(),
        "PYTHONPROFILEIMPORTTIME": "1",  # told on stderr, until the mount is ready
    }
    mounted = run_keyfs("mount", store.mountpoint, environment=environment)
    assert run_keyfs("umount", store.mountpoint, environment=store.environment).returncode == 0
    imported = set(re.findall(r"^import time:[^|]*\|[^|]*\|\s*(\S+)$", mounted.stderr.decode(), re.MULTILINE))
    assert {"keyfs.fs.mount", "trio", "pyfuse3"} <= imported
    assert not NOT_FOR_A_DIRECTORY & imported
