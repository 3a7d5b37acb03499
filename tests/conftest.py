"""What every test is held to: a clean log, nothing left mounted, nothing left running, no leaked resource.

This is the only conftest.py: tests/ is no package, so a second one would have the same module name.
"""

import gc
import logging
import os
import re
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from keyfs.testing import canary

if TYPE_CHECKING:
    from keyfs.testing.redis_servers import RedisServer

IN_CI = bool(os.environ.get("CI"))
# Whatever a test starts inherits this, daemons included, so that what stays behind is known as ours. The name
# does not begin with KEYFS_: that would be an option of keyfs.
SESSION_MARK = "TEST_SESSION_OF_KEYFS"
GRACE_S = 2.0
# The folders that load the machine, or watch the clock of a mount; files of one group never run side by side.
HEAVY = {
    "tests/fault/": "fault",
    "tests/mount/": "mount",
    "tests/programs/": "programs",
    "tests/supervised/": "programs",
}
# Begun first and in this order, else one worker is at work alone in the end: how groups or paths begin.
LONG = (
    "mount",
    "fault",
    "programs",
    "tests/interop/test_v2",
    "tests/custody/",
    "tests/aws/",
    "tests/packaging/",
    "tests/conformance/",
    "tests/cli/",
    "tests/guards/",
    "tests/property/",
    "tests/interop/",
)

# A slow machine is no failure, and a failure seen once must be seen again. "thorough" is for the nightly run:
# pytest --hypothesis-profile thorough.
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.register_profile("dev", deadline=None, print_blob=True)
hypothesis.settings.register_profile("thorough", deadline=None, print_blob=True, max_examples=2000)
hypothesis.settings.load_profile("ci" if IN_CI else "dev")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "expects_log(regex): the test makes keyfs log a warning or worse that matches; it must come",
    )


class FewHeavyAtATime(LoadScopeScheduling):  # type: ignore[misc]  # xdist ships no types
    """Each file goes to one worker; of the folders that load the machine, each group goes to one.

    Else two files that each kill a dozen writers are in each other's way, or two that each need the clock.
    """

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return next((group for folder, group in HEAVY.items() if path.startswith(folder)), path)

    def _assign_work_unit(self, node: WorkerController) -> None:
        """The longest that is left. What follows it in the queue is ordered by the number of tests."""
        left = (group for first in LONG for group in self.workqueue if group.startswith(first))
        if (longest := next(left, None)) is not None:
            self.workqueue.move_to_end(longest, last=False)
        super()._assign_work_unit(node)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Whatever --dist says: there is one way to run these tests side by side."""
    return FewHeavyAtATime(config, log)


def pytest_collection_finish() -> None:
    """Takes all imported so far out of the collector's sight, so that a collection per test is cheap."""
    gc.collect()
    gc.freeze()


# --- FUSE ---


@pytest.fixture(scope="session")
def fuse_required() -> None:
    """For every test that mounts: skips where FUSE is missing, but fails in CI, where a skip is a hole."""
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC))
    except OSError as exc:
        reason = f"/dev/fuse cannot be opened: {exc.strerror}"
        if IN_CI or os.environ.get("KEYFS_REQUIRE_FUSE"):
            pytest.fail(reason)
        pytest.skip(reason)


# --- clean log ---


class WarningCollector(logging.Handler):
    """Keeps what keyfs logs at WARNING and above."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextmanager
def log_is_clean(item: pytest.Item, *, all_announced_must_come: bool = False) -> Iterator[None]:
    """Fails the phase if keyfs warns without announcement; a failure of the test itself goes first."""
    announced = [str(mark.args[0]) for mark in item.iter_markers("expects_log")]
    collector = WarningCollector()
    logger = logging.getLogger("keyfs")
    logger.addHandler(collector)
    try:
        yield
    finally:
        logger.removeHandler(collector)
    for message in collector.messages:
        if not any(re.search(regex, message) for regex in announced):
            pytest.fail(f"keyfs logged a warning that no expects_log announces: {message}")
    if all_announced_must_come:
        for regex in announced:
            if not any(re.search(regex, message) for message in collector.messages):
                pytest.fail(f"expects_log announces what never came: {regex}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    with log_is_clean(item):
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    with log_is_clean(item, all_announced_must_come=True):
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    with log_is_clean(item):
        yield


# --- nothing left behind ---


def keyfs_mounts(below: Path) -> Counter[str]:
    """Counts the mounts of keyfs at each place. Those outside are others', who may mount at the same time."""
    places: Counter[str] = Counter()
    for line in os.fsdecode(Path("/proc/self/mounts").read_bytes()).rstrip("\n").split("\n"):
        _, escaped, fstype, *_ = line.split(" ")
        place = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), escaped)
        if fstype == "fuse.keyfs" and Path(place).is_relative_to(below):
            places[place] += 1
    return places


@contextmanager
def nothing_stays_mounted(below: Path) -> Iterator[None]:
    """Fails if a mount is there at the end that was not at the beginning, and takes it away."""
    before = keyfs_mounts(below)
    yield
    left = keyfs_mounts(below) - before
    for place in left.elements():
        # Lazily: a mount whose daemon is gone cannot be taken away in any other manner.
        subprocess.run(["umount", "--lazy", place], check=True)
    if left:
        pytest.fail(f"left mounted: {', '.join(left)}")


def left_running() -> dict[int, str]:
    """Tells which of the processes started since the session began are alive: number and command line."""
    mark = f"{SESSION_MARK}={os.getpid()}".encode()
    found: dict[int, str] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (process / "stat").read_text().rpartition(") ")[2].split()[:2]
            is_ours = int(parent) == os.getpid() or mark in (process / "environ").read_bytes().split(b"\0")
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # gone meanwhile, or not ours to look into
        if is_ours and state != "Z" and int(process.name) != os.getpid():
            found[int(process.name)] = command.strip()
    return found


@contextmanager
def nothing_stays_running() -> Iterator[None]:
    """Fails if a process is alive at the end that was started meanwhile, and kills it."""
    os.environ[SESSION_MARK] = str(os.getpid())
    yield
    deadline = time.monotonic() + GRACE_S
    while (left := left_running()) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    if left:
        pytest.fail("left running: " + ", ".join(f"{pid} ({command})" for pid, command in left.items()))


# Autouse fixtures are set up before and torn down after all others of their scope: the check of each scope
# sees what that scope's own fixtures left.


@pytest.fixture(scope="session", autouse=True)
def session_leaves_nothing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Looks at what session-scoped fixtures mounted, and at all processes."""
    # Whatever takes a temporary folder takes it below pytest's own, where the checks look.
    os.environ["TMPDIR"] = str(tmp_path_factory.mktemp("tmp", numbered=False))
    tempfile.tempdir = None
    with nothing_stays_running(), nothing_stays_mounted(tmp_path_factory.getbasetemp()):
        yield


@pytest.fixture(scope="module", autouse=True)
def module_leaves_nothing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Looks at what module-scoped fixtures mounted; what one file left for good is not collected again."""
    with nothing_stays_mounted(tmp_path_factory.getbasetemp()):
        yield
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def each_test_leaves_nothing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Looks at what the test itself mounted, and makes leaked files and sockets warn now, under its name."""
    with nothing_stays_mounted(tmp_path_factory.getbasetemp()):
        yield
    gc.collect()


# --- what many tests share ---


@pytest.fixture(scope="module")
def server() -> Iterator["RedisServer"]:
    """A Redis server for all tests of a file, each of which takes a prefix, or empties it."""
    from keyfs.testing.redis_servers import redis_server  # noqa: PLC0415 - few files need the driver

    with redis_server() as server:
        yield server


# --- no key is ever seen ---
#
# keyfs.testing.canary has known keys. No test may show one, not even when it fails; nor leave one in a file,
# except in those named *.canary-input.


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fails a test whose output, log or traceback holds a canary, and keeps that out of the report."""
    report = yield
    shown = canary.found_in("\n".join((report.longreprtext, *(text for _, text in report.sections))))
    if shown:
        report.outcome = "failed"
        report.sections.clear()
        report.longrepr = f"{report.when}: key bytes were shown: {', '.join(shown)}"
    return report


@pytest.fixture(scope="session", autouse=True)
def session_leaves_no_key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Looks into every file that the tests left."""
    yield
    left = canary.left_below(tmp_path_factory.getbasetemp())
    if left:
        listed = "; ".join(f"{path}: {', '.join(seen)}" for path, seen in left.items())
        pytest.fail(f"key bytes were left on disk: {listed}")
