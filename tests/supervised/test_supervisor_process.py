"""The supervisor itself: what it has, what it may, what it shows; and the clean end of it all."""

import ast
import json
import os
import resource
import select
import signal
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import keyfs
from keyfs.cli.exitcodes import EXIT_CODES
from keyfs.custody import key_memory
from keyfs.errors import MountFailed
from keyfs.supervisor import loop
from keyfs.testing import canary
from keyfs.testing.cores import found_in_core_of, need_gcore
from keyfs.testing.live import LiveStore, new_live_store
from keyfs.testing.mounted import keyfs_environment, run_keyfs
from keyfs.testing.processes import descendants, environments
from keyfs.testing.supervised import Site, is_mounted, supervised
from keyfs.testing.waiting import wait_until

KEY = "storage-sym/alice"
PACKAGE = Path(keyfs.__file__).parent / "supervisor"
TEXT = b64encode(canary.MASTER_KEY).decode()


# --- what it imports ---


def test_it_imports_nothing_but_the_standard_library_and_its_own_modules() -> None:
    words = "\n".join(path.read_text() for path in PACKAGE.glob("*.py"))
    named = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(ast.parse(words))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    outside = {name for name in named if name.partition(".")[0] not in sys.stdlib_module_names}
    assert outside == {name for name in outside if name.startswith("keyfs.supervisor")}


def test_it_runs_where_nothing_else_can_be_imported() -> None:
    source = f"""
import sys
sys.argv = ["", "/nowhere", "no settings"]
import runpy
try:
    runpy.run_path({str(PACKAGE / "__main__.py")!r}, run_name="__main__")
except ValueError:
    pass
strange = {{name.partition(".")[0] for name in sys.modules}} - set(sys.stdlib_module_names)
print(*sorted(name for name in sys.modules if name.startswith("keyfs")))
print(*sorted(strange - {{"__main__", "__mp_main__", "keyfs"}}))
"""
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", source], capture_output=True, text=True, check=True
    )
    modules, strange = ran.stdout.splitlines()
    assert "keyfs.supervisor.loop" in modules.split()
    assert all(name == "keyfs" or name.startswith("keyfs.supervisor") for name in modules.split())
    assert strange == ""


def test_it_knows_the_exit_code_of_a_failed_mount() -> None:
    assert EXIT_CODES[MountFailed] == loop.MOUNT_FAILED


# --- what it has and may ---


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, fuse_required: None) -> Iterator[Site]:
    with supervised(tmp_path_factory.mktemp("site")) as made:
        made.store.make(KEY)
        yield made


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_it_is_small_and_has_one_capability_and_no_core(site: Site) -> None:
    facts = status_of(site.supervisor)
    assert int(facts["CapEff"], 16) & ~(1 << 21) == 0
    assert int(facts["CapPrm"], 16) == int(facts["CapEff"], 16)
    assert int(facts["Threads"]) == 1
    assert int(facts["VmRSS"].split()[0]) < 25_000, "kilobytes"
    assert resource.prlimit(site.supervisor, resource.RLIMIT_CORE)[0] == 0
    assert (Path("/proc") / str(site.supervisor) / "fd").stat().st_uid == 0, "undumpable: root's"


def test_its_worker_has_what_a_daemon_without_a_supervisor_has(site: Site) -> None:
    assert status_of(site.worker)["CapEff"] == status_of(os.getpid())["CapEff"]


def test_neither_keeps_anything_of_the_caller(site: Site) -> None:
    for pid in (site.supervisor, site.worker):
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        assert {os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)} == {"/dev/null"}
        assert os.getsid(pid) != os.getsid(0)


def test_a_worker_is_the_first_to_go_when_memory_is_short(site: Site) -> None:
    own, its = (int(Path(f"/proc/{p}/oom_score_adj").read_text()) for p in (site.supervisor, site.worker))
    assert own <= its


def test_status_tells_of_both(site: Site) -> None:
    before = int(str(site.status()["restarts"]))
    site.kill_worker()
    said = run_keyfs("status", site.mountpoint, environment={}).stdout.decode()
    assert f"\nsupervisor: {site.supervisor}\n" in said
    assert f"\nrestarts: {before + 1}\n" in said
    assert f"\npid: {site.worker}\n" in said


# --- what it shows ---


@pytest.fixture(params=["env", "fd"])
def secret_site(request: pytest.FixtureRequest, tmp_path: Path, fuse_required: None) -> Iterator[Path]:
    """A mount under the canary master key."""
    path = tmp_path / "key.canary-input"
    path.touch(mode=0o600)
    path.write_text(TEXT)
    environment = {"KEYFS_STORE": str(tmp_path / "keys"), "KEYFS_LOG_FILE": str(tmp_path / "daemon.log")}
    for words in (["init"], ["generate", KEY, "--master-key", f"file:{path}"]):
        assert run_keyfs(*words, environment=environment).returncode == 0
    mountpoint = tmp_path / "mount"
    mountpoint.mkdir()
    with path.open() as opened:
        passed = {
            "env": {"ACRA_MASTER_KEY": TEXT},
            "fd": {"KEYFS_MASTER_KEY": f"fd:{opened.fileno()}"},
        }[request.param]
        ran = subprocess.run(
            [sys.executable, "-m", "keyfs", "mount", "--supervised", str(mountpoint)],
            env=keyfs_environment(environment | passed),
            pass_fds=[opened.fileno()],
            capture_output=True,
            check=False,
        )
    assert ran.returncode == 0, ran.stderr
    path.unlink()
    yield mountpoint
    assert run_keyfs("umount", mountpoint, environment={}).returncode == 0
    assert canary.found_in((tmp_path / "daemon.log").read_bytes()) == []


def use(mountpoint: Path) -> dict[str, str]:
    key = mountpoint / KEY
    assert len((key / "current").read_bytes()) == 32
    (key / "rotate").write_bytes(b"x")
    facts: dict[str, object] = json.loads((mountpoint / ".keyfs/status.json").read_bytes())
    return {name: str(value) for name, value in facts.items()}


def test_no_worker_needs_the_place_of_the_key_again_and_nobody_shows_the_key(
    secret_site: Path, tmp_path: Path
) -> None:
    """Not in memory, as root's debugger sees it, and not in the environment."""
    need_gcore()
    whole = key_memory() == "memfd_secret"
    os.kill(int(use(secret_site)["pid"]), signal.SIGKILL)
    facts = use(secret_site)
    assert facts["restarts"] == "1"
    for name in ("supervisor", "pid"):
        assert found_in_core_of(int(facts[name]), tmp_path, canary.MASTER_KEY, whole=whole) == {}
    assert len(descendants(int(facts["supervisor"]))) >= 3
    assert canary.found_in(environments(int(facts["supervisor"]))) == []


def test_the_key_is_there_for_a_reload(secret_site: Path) -> None:
    use(secret_site)
    ran = run_keyfs("reload", secret_site, environment={})
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert use(secret_site)["reloads"] == "1"


# --- the end ---


def state_of(pid: int) -> str:
    """Empty for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except OSError:
        return ""


@contextmanager
def ends(*pids: int) -> Iterator[None]:
    """All of these processes must have ended by the end of the block, or within seconds of it."""
    descriptors = [os.pidfd_open(pid) for pid in pids]
    try:
        yield
        for descriptor in descriptors:
            assert select.select([descriptor], [], [], 20)[0], "still running"
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


@pytest.fixture
def store(tmp_path: Path, fuse_required: None) -> LiveStore:
    made = new_live_store(tmp_path)
    made.make(KEY)
    return made


@pytest.fixture
def processes(store: LiveStore) -> tuple[int, int]:
    """A mount in the background: its supervisor and its worker."""
    options = ("--supervised", "--log-level", "info", "--log-file", str(store.log))
    assert run_keyfs("mount", *options, store.mountpoint, environment=store.environment).returncode == 0
    facts = json.loads((store.mountpoint / ".keyfs/status.json").read_bytes())
    return int(facts["supervisor"]), int(facts["pid"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_everything_also_while_files_are_open(
    store: LiveStore, processes: tuple[int, int], number: int
) -> None:
    opened = os.open(store.mountpoint / KEY / "current", os.O_RDONLY)
    with ends(*processes):
        os.kill(processes[0], number)
    with pytest.raises(OSError, match="not connected"):
        os.close(opened)
    assert not is_mounted(store.mountpoint)
    assert os.listdir(store.mountpoint) == []


def test_umount_waits_for_both(store: LiveStore, processes: tuple[int, int]) -> None:
    with ends(*processes):
        assert run_keyfs("umount", store.mountpoint, environment={}).returncode == 0
        assert {state_of(pid) for pid in processes} <= {"", "Z"}


@pytest.mark.parametrize("command", [["umount"], ["fusermount3", "-u"]], ids=" ".join)
def test_other_commands_that_unmount(
    store: LiveStore, processes: tuple[int, int], command: list[str]
) -> None:
    with ends(*processes):
        subprocess.run([*command, store.mountpoint], check=True)


def test_a_lazy_unmount_ends_with_the_last_user_and_workers_may_die_until_then(
    store: LiveStore, processes: tuple[int, int]
) -> None:
    with ends(processes[0]), open(store.mountpoint / KEY / "current", "rb", buffering=0) as opened:
        assert run_keyfs("umount", "--lazy", store.mountpoint, environment={}).returncode == 0
        os.kill(processes[1], signal.SIGKILL)
        assert len(opened.read()) == 32


def test_sigterm_to_a_worker_only_brings_another_one(store: LiveStore, processes: tuple[int, int]) -> None:
    os.kill(processes[1], signal.SIGTERM)
    wait_until(lambda: json.loads((store.mountpoint / ".keyfs/status.json").read_bytes())["restarts"] == 1)
    assert run_keyfs("umount", store.mountpoint, environment={}).returncode == 0


def test_foreground(store: LiveStore) -> None:
    command = [sys.executable, "-m", "keyfs", "mount", "--supervised", "--foreground", str(store.mountpoint)]
    environment = keyfs_environment(store.environment)
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"mounted at %b\n" % os.fsencode(store.mountpoint)
        facts = json.loads((store.mountpoint / ".keyfs/status.json").read_bytes())
        assert facts["supervisor"] == process.pid, "what a service manager started is what it knows"
        os.kill(facts["pid"], signal.SIGKILL)
        assert len((store.mountpoint / KEY / "current").read_bytes()) == 32
        process.terminate()
        assert process.wait(20) == 0
        assert b"worker.replaced" in process.stderr.read()
    assert not is_mounted(store.mountpoint)


@pytest.mark.parametrize("pause_s", [0.0, 0.1, 0.3, 0.5])
def test_a_signal_while_it_starts_leaves_nothing(store: LiveStore, pause_s: float) -> None:
    command = [sys.executable, "-m", "keyfs", "mount", "--supervised", str(store.mountpoint)]
    environment = keyfs_environment(store.environment)
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        select.select([], [], [], pause_s)
        process.terminate()
        process.wait(20)
    assert is_mounted(store.mountpoint) == (process.returncode == 0)
    if process.returncode == 0:
        assert run_keyfs("umount", store.mountpoint, environment={}).returncode == 0
