"""From the first worker to the end of the mount: start, hand over, start again, reload, stop."""

import os
import selectors
import signal
import socket
import time
from typing import Final

from keyfs.supervisor import kernel, system
from keyfs.supervisor.caller import announce, say, signals
from keyfs.supervisor.control import Control
from keyfs.supervisor.mounting import MountRefusedError, end_mount, open_mount
from keyfs.supervisor.workers import Message, Settings, Worker, close_all, name_of, settings_from, unsaid

MOUNT_FAILED: Final = 19  # keyfs.cli.exitcodes says the same of MountFailed; a test compares
# A worker that could not even start is followed by the next one after a pause, each time a longer one.
PAUSE_S: Final = 0.2
PAUSE_MAX_S: Final = 5.0
LIVED_S: Final = 10.0  # a worker that served for so long counts as a good one
SHORT_LIVES: Final = 100  # so many in a row may have served for less, before there are pauses
RETIRE_S: Final = 15.0  # how long a worker may go on with what it has begun when another one is ready
STOP_S: Final = 12.0  # more than a worker waits for writes that are under way


def run(text: str) -> int:
    """Hold the mount that *text* (see `Settings`) describes until it ends; the exit code."""
    system.forbid_core_dumps()
    os.chdir("/")
    return Supervisor(settings_from(text)).run()


class Supervisor:
    """The mount, the worker that serves it, and, while one takes over, its successor."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._selector = selectors.DefaultSelector()
        self._oom_before = system.spare_from_oom()
        self._device = -1
        self._init = b""
        self._worker: Worker | None = None
        self._successor: Worker | None = None
        self._old: list[Worker] = []  # retired, with late writes of theirs to end
        self._restarts = 0
        self._reloads = 0
        self._died_early = 0
        self._last_end = ""
        self._is_ready = False
        self._start_at_s = 0.0  # of the next worker
        self._alone_since_s = time.monotonic()
        self._retire_at_s = 0.0
        self._code: int | None = None
        self._control = Control(settings.control)

    def run(self) -> int:
        """Until the mount ends."""
        came = signals()
        self._selector.register(came, selectors.EVENT_READ, self._obey(came))
        self._selector.register(self._control.listener, selectors.EVENT_READ, self._on_client)
        self._start("first")
        close_all(self._settings.only_first)
        while self._code is None:
            for key, _ in self._selector.select(self._patience_s()):
                key.data()
            self._look_at_clock()
        return self._finish(self._code)

    # --- workers ---

    def _start(self, role: str) -> Worker:
        worker = Worker(self._settings, role, self._oom_before)
        if role == "reload":
            self._successor = worker
        else:
            self._worker = worker
        self._selector.register(worker.channel, selectors.EVENT_READ, lambda: self._on_word(worker))
        self._selector.register(worker.pidfd, selectors.EVENT_READ, lambda: self._on_end(worker))
        return worker

    def _on_word(self, worker: Worker) -> None:
        message = worker.hear()
        if not message:  # it ends: the other descriptor tells
            self._selector.unregister(worker.channel)
        elif message["is"] == "failed":
            worker.line = str(message["line"])
        elif message["is"] == "prepared":
            self._on_prepared(worker)
        elif message["is"] == "serving":
            self._on_serving(worker)
        elif message["is"] == "retired":
            self._on_retired(worker)

    def _on_prepared(self, worker: Worker) -> None:
        worker.is_prepared = True
        if worker is self._worker:
            self._hand_over(worker)
        elif self._worker is None:
            self._replace(None)
        elif self._worker.is_serving:
            self._worker.tell("retire")
            self._retire_at_s = time.monotonic() + RETIRE_S
        else:
            self._worker.signal(signal.SIGKILL)  # never two at one device

    def _hand_over(self, worker: Worker) -> None:
        if self._device < 0 and not self._mount():
            return
        if worker.role != "first":  # the first has INIT itself to answer
            kernel.resend(self._device)
        self._alone_since_s = 0.0
        facts: Message = {
            "restarts": self._restarts,
            "reloads": self._reloads,
            "ended": self._last_end,
            "supervisor": os.getpid(),
            "control": self._settings.control,
        }
        worker.hand_over(self._device, self._init, facts)

    def _mount(self) -> bool:
        try:
            self._device = open_mount(self._settings.mountpoint, self._settings.options)
            self._init = kernel.read_init(self._device)
        except (MountRefusedError, kernel.NoInitError) as exc:
            self._fail(
                f"cannot mount at {self._settings.mountpoint}: {exc}: mend the options given with -o, "
                f"or run keyfs doctor to see what is missing"
            )
            return False
        system.drop_capabilities()
        return True

    def _on_serving(self, worker: Worker) -> None:
        worker.is_serving = True
        if not self._is_ready:
            self._is_ready = True
            announce(self._settings)
        if worker.role == "reload":
            self._answer(0, "")

    def _on_retired(self, worker: Worker) -> None:
        if worker is self._worker and self._successor is not None:
            self._replace(worker)

    def _replace(self, old: Worker | None) -> None:
        """The successor takes over; *old* may end when it likes."""
        successor = self._successor
        assert successor is not None  # noqa: S101 - the callers have looked
        if old is not None:
            self._old.append(old)
        self._worker, self._successor, self._retire_at_s = successor, None, 0.0
        self._reloads += 1
        self._hand_over(successor)

    def _on_end(self, worker: Worker) -> None:
        """A worker has ended, for whatever reason."""
        self._forget(worker)
        code = worker.reap()
        if worker in self._old:
            self._old.remove(worker)
        elif worker is self._successor:
            self._successor = None
            self._retire_at_s = 0.0
            self._answer(code if code > 0 else MOUNT_FAILED, worker.line or unsaid(code))
        elif self._device >= 0 and kernel.is_gone(self._device):
            self._code = 0 if self._is_ready else (code if code > 0 else MOUNT_FAILED)
        elif not self._is_ready:
            self._fail(unsaid(code) if code < 0 else "", code if code > 0 else MOUNT_FAILED)
        else:
            self._after_death(worker, code)

    def _after_death(self, worker: Worker, code: int) -> None:
        now_s = time.monotonic()
        self._worker = None
        self._restarts += 1
        self._last_end = name_of(code)
        if worker.role == "reload" and not worker.is_serving:
            self._answer(MOUNT_FAILED, worker.line or unsaid(code))
        if worker.has_mount:
            self._alone_since_s = now_s
        has_lived = worker.is_serving and now_s - worker.started_s > LIVED_S
        self._died_early = 0 if has_lived else self._died_early + 1
        if self._successor is not None and self._successor.is_prepared:
            self._replace(None)
            return
        pauses = self._died_early - (SHORT_LIVES if worker.is_serving else 0)
        pause_s = min(PAUSE_S * 2 ** min(pauses - 1, 10), PAUSE_MAX_S) if pauses > 0 else 0.0
        self._start_at_s = now_s + pause_s

    def _forget(self, worker: Worker) -> None:
        while worker.channel in self._selector.get_map():
            self._on_word(worker)  # what it said last
        self._selector.unregister(worker.pidfd)

    # --- time ---

    def _patience_s(self) -> float | None:
        """How long nothing has to be done if nothing happens."""
        if self._worker is None:
            return max(self._start_at_s - time.monotonic(), 0.0)
        if self._alone_since_s:
            return min(self._settings.grace_s, 1.0)
        return max(self._retire_at_s - time.monotonic(), 0.0) if self._retire_at_s else None

    def _look_at_clock(self) -> None:
        now_s = time.monotonic()
        if self._code is not None:
            return
        if self._worker is None and now_s >= self._start_at_s:
            self._start("again")
        if self._retire_at_s and now_s >= self._retire_at_s and self._worker is not None:
            self._worker.signal(signal.SIGKILL)  # its requests and open files go to the successor
            self._retire_at_s = 0.0
        is_overdue = self._alone_since_s and now_s - self._alone_since_s > self._settings.grace_s
        if is_overdue and self._device >= 0:
            kernel.resend(self._device)
            kernel.refuse_all(self._device)

    # --- from outside ---

    def _obey(self, came: socket.socket) -> object:
        def obey() -> None:
            for number in came.recv(64):
                if number == signal.SIGHUP and not os.isatty(0):
                    if self._worker is not None:
                        self._worker.signal(signal.SIGHUP)
                else:
                    self._code = 0 if self._is_ready else self._stopped(number)

        return obey

    def _stopped(self, number: int) -> int:
        name = signal.Signals(number).name
        say(f"stopped by {name} before {self._settings.mountpoint} was ready")
        return MOUNT_FAILED

    def _on_client(self) -> None:
        client = self._control.accept()
        if client is None:
            return
        self._selector.register(client, selectors.EVENT_READ, self._on_client_gone)
        if self._successor is not None or not self._is_ready:
            self._answer(MOUNT_FAILED, "a worker is just being started: try again")
        else:
            self._start("reload")

    def _on_client_gone(self) -> None:
        """Nobody waits for the reload any more: what is not prepared would be in the next one's way."""
        if self._successor is not None and not self._successor.is_prepared:
            self._successor.signal(signal.SIGKILL)
        self._answer(MOUNT_FAILED, "given up")

    def _answer(self, code: int, line: str) -> None:
        if self._control.client is not None:
            self._selector.unregister(self._control.client)
            self._control.answer(code, line)

    def _fail(self, line: str, code: int = MOUNT_FAILED) -> None:
        if line:
            say(line)
        self._code = code

    def _finish(self, code: int) -> int:
        """The end: no worker, no mount."""
        for worker in (self._worker, self._successor, *self._old):
            if worker is not None and worker.channel.fileno() >= 0:
                worker.end(STOP_S)
        self._answer(MOUNT_FAILED, "the mount has ended")
        if self._device >= 0:
            is_gone = kernel.is_gone(self._device)
            os.close(self._device)
            if not is_gone:
                end_mount(self._settings.mountpoint)
        return code
