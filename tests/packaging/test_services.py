"""The units of packaging/systemd under a real systemd: readiness, watchdog, credentials, mounts on demand."""

import hashlib
import re
from collections.abc import Iterator

import pytest
from service_site import Site, service_site

from keyfs.testing.waiting import wait_until

WITHIN_S = 40.0
KEYS = "/run/keyfs/keys"  # where the example units mount

PREPARATION = """
mkdir -p /run/keyfs/served /run/keyfs/keys /run/credstore.encrypted
systemd-creds setup
{ cat "$PLACE/master.key"; echo; } | systemd-creds encrypt --with-key=host --name=acra_master_key \\
    - /run/credstore.encrypted/acra_master_key
"""
SERVICE = "keyfs@run-keyfs-served.service"
SERVED = "/run/keyfs/served"


@pytest.fixture(scope="module")
def site(fuse_required: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    place = tmp_path_factory.mktemp("services")
    config = place / "keyfs.toml"
    config.write_text(f'store = "dir:{place}/keys"\nmaster-key = "credential:acra_master_key"\n')
    mount = f"What=dir:{place}/keys\nOptions=\nOptions=ro,nofail,master-key=file:{place}/master.key"
    drop_ins = {
        "keyfs@.service": f"[Service]\nEnvironment=KEYFS_CONFIG={config}\nWatchdogSec=3\n",
        "run-keyfs-keys.mount": f"[Mount]\n{mount}\n",
        "run-keyfs-keys.automount": "[Automount]\nTimeoutIdleSec=1\n",
    }
    with service_site(place, drop_ins, PREPARATION) as made:
        yield made


def digest_now(site: Site) -> str:
    return hashlib.sha256(site.key()).hexdigest()


def is_mounted(site: Site, mountpoint: str) -> bool:
    """Asks the kernel's table: a look at the place itself would mount it."""
    table = site.says("cat", "/proc/self/mountinfo").splitlines()
    return any(f" {mountpoint} " in line and " - fuse.keyfs " in line for line in table)


@pytest.fixture
def served(site: Site) -> Iterator[Site]:
    """The service, started for a test."""
    site.says("systemctl", "start", SERVICE)
    yield site
    site.says("systemctl", "stop", SERVICE)
    assert site.property(SERVICE, "Result") == "success"
    assert not is_mounted(site, SERVED)


def test_a_start_ends_when_a_key_can_be_read(served: Site) -> None:
    """By a program that is not in the service, whose mount that is."""
    assert is_mounted(served, SERVED)
    assert served.digest(SERVED) == digest_now(served)
    assert served.property(SERVICE, "ActiveState") == "active"
    assert served.property(SERVICE, "StatusText") == f"mounted at {SERVED}"


def worker_of(site: Site) -> str:
    """The number of the process that serves; the main process is its supervisor."""
    return site.says("pgrep", "--parent", site.property(SERVICE, "MainPID")).strip()


def test_the_master_key_is_a_credential_in_memory_of_its_own(served: Site) -> None:
    pid = worker_of(served)
    status = served.says("keyfs", "status", SERVED)
    assert "credential:acra_master_key" in status
    outside = "secretmem" in served.says("cat", f"/proc/{pid}/maps")
    assert outside == (
        "memfd_secret" in served.systemd.run("keyfs", "doctor").stdout.partition("key memory")[2]
    )


def test_what_is_left_of_root_is_what_the_unit_grants(served: Site) -> None:
    status = served.says("cat", f"/proc/{worker_of(served)}/status")
    granted = 1 << 21 | 1 << 1 | 1 << 0 | 1 << 3 | 1 << 14  # SYS_ADMIN, DAC_OVERRIDE, CHOWN, FOWNER, IPC_LOCK
    assert f"CapBnd:\t{granted:016x}\n" in status
    assert re.search(r"NoNewPrivs:\s1\n(.*\n)?Seccomp:\s2\n", status)


def test_a_reload_fetches_the_master_key_again(served: Site) -> None:
    pid = served.property(SERVICE, "MainPID")
    served.says("systemctl", "reload", SERVICE)
    wait_until(lambda: served.property(SERVICE, "ActiveState") == "active")
    assert served.property(SERVICE, "MainPID") == pid
    assert served.digest(SERVED) == digest_now(served)


def is_back(site: Site, restarts: int) -> bool:
    count = int(site.property(SERVICE, "NRestarts"))
    return count > restarts and site.property(SERVICE, "ActiveState") == "active"


@pytest.mark.parametrize("whom", ["worker", "outsider"])
def test_the_watchdog_restarts_a_mount_that_answers_no_more(served: Site, whom: str) -> None:
    """The worker hangs, or nothing can be read through the mount; the dead mount does not stop the next."""
    pid = served.property(SERVICE, "MainPID")
    before = int(served.property(SERVICE, "NRestarts"))
    worker = worker_of(served)
    stopped = worker if whom == "worker" else served.says("pgrep", "--parent", worker).strip()
    served.says("kill", "-STOP", stopped)
    wait_until(lambda: is_back(served, before), WITHIN_S)
    assert served.property(SERVICE, "MainPID") != pid
    assert served.digest(SERVED) == digest_now(served)


def test_a_worker_that_was_killed_is_replaced_and_the_service_notices_nothing(served: Site) -> None:
    main, before = served.property(SERVICE, "MainPID"), served.property(SERVICE, "NRestarts")
    worker = worker_of(served)
    served.says("kill", "-KILL", worker)
    assert served.digest(SERVED) == digest_now(served)
    assert worker_of(served) != worker
    assert (served.property(SERVICE, "MainPID"), served.property(SERVICE, "NRestarts")) == (main, before)


def test_a_supervisor_that_was_killed_comes_back(served: Site) -> None:
    before = int(served.property(SERVICE, "NRestarts"))
    served.says("kill", "-KILL", served.property(SERVICE, "MainPID"))
    wait_until(lambda: is_back(served, before), WITHIN_S)
    assert served.digest(SERVED) == digest_now(served)


def test_a_service_whose_start_fails_leaves_nothing_mounted(site: Site) -> None:
    """The directory is not there; the reason is what its journal ends with."""
    name = "keyfs@run-keyfs-nowhere.service"
    assert site.systemd.run("systemctl", "start", name).returncode != 0
    site.says("systemctl", "stop", name)
    assert not is_mounted(site, "/run/keyfs/nowhere")


def test_an_automount_mounts_when_used_and_unmounts_when_idle(site: Site) -> None:
    """Again and again; each time it mounts, the first program that comes gets its key."""
    site.says("systemctl", "start", "run-keyfs-keys.automount")
    try:
        for _ in range(2):
            assert not is_mounted(site, KEYS)
            assert site.digest(KEYS) == digest_now(site)
            assert is_mounted(site, KEYS)
            wait_until(lambda: not is_mounted(site, KEYS), WITHIN_S)
    finally:
        site.says("systemctl", "stop", "run-keyfs-keys.automount")


def test_a_mount_unit_that_cannot_be_mounted_fails(site: Site) -> None:
    """The one line of keyfs comes through mount(8)."""
    (site.store.root.parent / "nowhere").mkdir()
    ran = site.systemd.run(
        "mount", "-t", "fuse.keyfs", str(site.store.root.parent / "nowhere"), "/run/keyfs/keys"
    )
    assert ran.returncode == 32
    assert "keyfs: " in ran.stderr
    assert not is_mounted(site, KEYS)
