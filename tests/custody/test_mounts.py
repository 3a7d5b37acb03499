"""Whatever of a real mount can end in a file, or be read by others, holds no part of its master key."""

import contextlib
import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from keyfs.custody import key_memory
from keyfs.fs.mounts import mount_at
from keyfs.testing import canary
from keyfs.testing.cores import found_in_core_of, need_gcore
from keyfs.testing.mounted import keyfs_environment, mounted, run_keyfs
from keyfs.testing.processes import descendants, environments
from keyfs.testing.waiting import wait_until

WITHIN_S = 30.0
KEY = canary.MASTER_KEY
TEXT = b64encode(KEY).decode()
NAME = "storage-sym/alice"


@dataclass(frozen=True, slots=True)
class Site:
    """A key store under the canary master key, and where that key comes from."""

    place: Path
    environment: dict[str, str]

    @property
    def mountpoint(self) -> Path:
        return self.place / "mount"

    @property
    def log(self) -> bytes:
        return (self.place / "daemon.log").read_bytes()


@pytest.fixture(scope="module")
def key_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one key, made once: each site has a copy of it."""
    store = tmp_path_factory.mktemp("made") / "keys"
    for words in (["init"], ["generate", NAME]):
        ran = run_keyfs(*words, environment={"KEYFS_STORE": str(store), "ACRA_MASTER_KEY": TEXT})
        assert ran.returncode == 0, ran.stderr.decode()
    return store


@pytest.fixture(params=["env", "file", "command"])
def site(request: pytest.FixtureRequest, tmp_path: Path, key_store: Path, fuse_required: None) -> Site:
    shutil.copytree(key_store, tmp_path / "keys")
    environment = {
        "KEYFS_STORE": str(tmp_path / "keys"),
        "KEYFS_LOG_LEVEL": "debug",
        "KEYFS_LOG_FILE": str(tmp_path / "daemon.log"),
    }
    path = tmp_path / "key.canary-input"
    path.touch(mode=0o600)
    path.write_text(TEXT)
    if request.param == "env":
        environment["ACRA_MASTER_KEY"] = TEXT
    else:
        environment["KEYFS_MASTER_KEY"] = (
            f"file:{path}" if request.param == "file" else f"command:/bin/cat {path}"
        )
    made = Site(tmp_path, environment)
    made.mountpoint.mkdir()
    return made


def use(mountpoint: Path) -> int:
    """Read, rotate, refuse, list, look; the number of the daemon."""
    key = mountpoint / NAME
    (key / "current").read_bytes()
    (key / "rotate").write_bytes(b"x")
    with pytest.raises(OSError, match="Invalid argument"):
        (key / "current").write_bytes(b"too short")
    for version in key.iterdir():
        version.read_bytes()
    status = json.loads((mountpoint / ".keyfs/status.json").read_bytes())
    return int(status["pid"])


@contextmanager
def foreground(site: Site) -> Iterator["subprocess.Popen[bytes]"]:
    """A mount in the foreground, which has its core dumps, if it makes any, in the site's place."""
    with subprocess.Popen(
        [sys.executable, "-m", "keyfs", "mount", "--foreground", str(site.mountpoint)],
        env=keyfs_environment(site.environment),
        cwd=site.place,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(WITHIN_S)
            if mount_at(os.path.realpath(site.mountpoint)) is not None:
                run_keyfs("umount", "--lazy", site.mountpoint, environment={})


def test_core_environment_log_and_status_hold_no_part_of_the_key(site: Site) -> None:
    """Where there is memfd_secret, not even when a debugger is told to dump what is not to be dumped."""
    need_gcore()
    whole = key_memory() == "memfd_secret"
    with mounted(site.mountpoint, environment=site.environment) as mountpoint:
        daemon = use(mountpoint)
        assert len(descendants(daemon)) >= 2
        for process in descendants(daemon):
            assert found_in_core_of(process, site.place, KEY, whole=whole) == {}
        assert canary.found_in(environments(daemon)) == []
        for name in os.listdir(mountpoint / ".keyfs"):
            assert canary.found_in((mountpoint / ".keyfs" / name).read_bytes()) == []
        status = run_keyfs("status", "--json", environment={})
        assert str(mountpoint).encode() in status.stdout
        assert canary.found_in(status.stdout + status.stderr) == []
        assert use(mountpoint) == daemon
    assert b"rotation.committed" in site.log
    assert canary.found_in(site.log) == []


def test_a_core_of_a_daemon_that_fetched_its_key_again_holds_no_part_of_it(site: Site) -> None:
    need_gcore()
    with mounted(site.mountpoint, environment=site.environment) as mountpoint:
        daemon = use(mountpoint)
        os.kill(daemon, signal.SIGHUP)
        wait_until(lambda: b"master_key.renewed" in site.log)
        assert found_in_core_of(daemon, site.place, KEY) == {}
        assert canary.found_in(environments(daemon)) == []
        assert use(mountpoint) == daemon
    assert canary.found_in(site.log) == []


def test_the_environment_is_clean_as_soon_as_there_is_a_mount(site: Site) -> None:
    need_gcore()
    with foreground(site) as process:
        deadline = time.monotonic() + WITHIN_S
        while mount_at(os.path.realpath(site.mountpoint)) is None:
            assert time.monotonic() < deadline, "it did not come"
        assert canary.found_in(environments(process.pid)) == []


def test_a_crash_leaves_no_core(site: Site) -> None:
    """Not even where the limit is raised again, as only root can."""
    with foreground(site) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith(b"mounted at ")
        assert resource.prlimit(process.pid, resource.RLIMIT_CORE) == (0, 0)
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        # Without CAP_SYS_RESOURCE nobody can; what would hold then is shown by the next test.
        with contextlib.suppress(PermissionError):
            resource.prlimit(process.pid, resource.RLIMIT_CORE, unlimited)
        assert dumps_core(process.pid) is False
        process.wait(WITHIN_S)
    assert not list(site.place.glob("core*"))


LIMIT_STAYS = """
import os, resource, sys
from keyfs import custody
hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
if not hard:
    sys.exit(77)
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
resource.setrlimit = lambda *_: None
{guard}
assert resource.getrlimit(resource.RLIMIT_CORE)[0] == hard
os.abort()
"""


@pytest.mark.parametrize("guard", ["", "custody.forbid_core_dumps()"], ids=["control", "undumpable"])
def test_without_the_limit_the_other_guard_is_enough(tmp_path: Path, guard: str) -> None:
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    if not guard and pattern.startswith(("|", "/")):
        pytest.skip("this machine keeps its core dumps elsewhere")
    source = LIMIT_STAYS.format(guard=guard)
    ran = subprocess.run([sys.executable, "-c", source], cwd=tmp_path, check=False)
    if ran.returncode == 77:
        pytest.skip("this shell forbids core dumps")
    assert ran.returncode == -signal.SIGABRT
    assert bool(list(tmp_path.glob("core*"))) == (not guard)


def dumps_core(pid: int) -> bool:
    """Whether the process dumps core when it is aborted, as the kernel tells whoever may wait for it."""
    os.kill(pid, signal.SIGABRT)
    pidfd = os.pidfd_open(pid)
    try:
        assert select.select([pidfd], [], [], WITHIN_S)[0]
        status = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT)
    finally:
        os.close(pidfd)
    assert status is not None
    return status.si_code == os.CLD_DUMPED
