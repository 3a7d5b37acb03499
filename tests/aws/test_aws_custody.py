"""No part of a master key that KMS unwrapped ends where a file or another process could have it."""

import json
import os
import signal
from pathlib import Path

import pytest
from aws_sites import AwsSite

from keyfs.core.secret import Secret
from keyfs.custody import key_memory
from keyfs.master.registry import open_key
from keyfs.testing import canary
from keyfs.testing.cores import found_in_core_of, need_gcore
from keyfs.testing.kms_servers import KMSServer
from keyfs.testing.mounted import mounted
from keyfs.testing.processes import descendants, environments
from keyfs.testing.waiting import wait_until

pytest_plugins = ["aws_fixtures"]
NAME = "storage-sym/alice"


@pytest.mark.usefixtures("fuse_required")
def test_nothing_of_a_mount_holds_a_part_of_the_key_that_kms_unwrapped(
    moto: KMSServer, tmp_path: Path
) -> None:
    need_gcore()
    moto.make("alias/acra_master_key")
    wrapped = open_key(moto.uri()).wrap(Secret(canary.MASTER_KEY)).decode()
    site = AwsSite(tmp_path, moto.uri(), {"ACRA_MASTER_KEY": wrapped})
    site.keyfs("init")
    site.keyfs("generate", NAME)
    log = tmp_path / "log"
    words = ("--log-file", str(log), "--log-level", "debug")
    with mounted(tmp_path / "mount", *words, environment=site.environment) as mount:
        (mount / NAME / "rotate").write_bytes(b"x")
        daemon = int(json.loads((mount / ".keyfs/status.json").read_bytes())["pid"])
        os.kill(daemon, signal.SIGHUP)
        wait_until(lambda: "master_key.renewed" in log.read_text())
        for process in descendants(daemon):
            whole = key_memory() == "memfd_secret"
            assert found_in_core_of(process, tmp_path, canary.MASTER_KEY, whole=whole) == {}
        assert canary.found_in(environments(daemon)) == []
        assert canary.found_in((mount / ".keyfs/status").read_bytes()) == []
    assert canary.found_in(log.read_bytes()) == []
