"""The composition of a running mount: key store, broker, tree, handlers."""

import gc
import logging
import os
import platform
import secrets
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from importlib.metadata import version
from typing import Final

from keyfs.app import Access, open_renewable
from keyfs.broker.broker import KeyBroker
from keyfs.broker.changes import Tools
from keyfs.broker.controls import MountInfo, controls
from keyfs.broker.freshness import Freshness
from keyfs.broker.keystore import KeyStore
from keyfs.broker.master_key_proof import verify_master_key
from keyfs.broker.outcomes import Outcomes
from keyfs.broker.reader import BlobReader
from keyfs.broker.rotation_schedule import RotationSchedule, Worker
from keyfs.broker.tree import Tree
from keyfs.broker.viewing import forms
from keyfs.broker.writer import RingWriter
from keyfs.core.policy import Ownership, Policy
from keyfs.core.stamps import rfc3339
from keyfs.custody import lock_memory
from keyfs.errors import KeyfsError
from keyfs.fs.mount import Hooks, MountPlan, serve
from keyfs.fs.notify import Notifier, notifier_of_environment
from keyfs.fs.operations import KeyfsOperations
from keyfs.fs.outsider import Outsider
from keyfs.fs.suspects import earlier_outsiders, note_outsider
from keyfs.logs import event
from keyfs.master_keys import MasterKeys, hide_variables, patiently
from keyfs.offload import Offload
from keyfs.seal.protection import Protections

COLLECT_AFTER: Final = 50_000  # objects more than before; few of ours refer to each other in circles
_log = logging.getLogger(__name__)


def run_service(
    plan: MountPlan, access: Access, policy: Callable[[], Policy], on_ready: Callable[[], None]
) -> None:
    """Open the key store, prove the master key, mount, and serve until the mount ends.

    Args:
        plan: where and how.
        access: to what.
        policy: reads it; asked again when the daemon is told to fetch its master keys again.
        on_ready: called when a file under the mount can be opened.

    Raises:
        KeyfsError: as *policy*, `open_keys`, `verify_master_key`, `serve`; before that nothing is mounted.
    """
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # a server that closes a connection is no reason to end
    rules = policy()
    if rules.shows_views or access.own:
        forms()  # not later: the package may be upgraded while we run
    lock_memory()
    notifier = notifier_of_environment()  # before anything is started that should not speak for us
    if access.master_key is not None:
        hide_variables(access.master_key)  # before anything is started that should not have them
    with ExitStack() as ended:
        # Before the mount, so that it can hold nothing of it; and it starts while we open the key store.
        early = ended.enter_context(closing(_outsider(plan))) if plan.takeover is None else None
        keys, writer, master_keys = open_renewable(access)
        ended.callback(keys.close)
        watch = keys.watch()
        patiently(lambda: verify_master_key(keys), access.wait_s)
        started_ns = time.time_ns()
        if plan.takeover is not None:
            plan.takeover.wait()  # nothing that takes long comes after it
        tools = _tools(plan, keys, writer, rules, started_ns)
        broker = KeyBroker(tools)
        schedule = _schedule(plan, tools, broker)
        owner = Ownership(os.getuid(), os.getgid())
        operations = KeyfsOperations(broker, owner, plan.plaintext_ttl_s)
        outsider = early or ended.enter_context(closing(_outsider(plan)))
        gc.freeze()  # what is there by now stays: the collector need not look at it again and again
        gc.set_threshold(COLLECT_AFTER)
        renew = partial(_renew, tools.tree, policy, _Renewal(keys, access, master_keys))
        renew = partial(_renew_all, renew, schedule, plan)
        ready = partial(_begin, on_ready, schedule)
        serve(plan, operations, broker, watch, outsider, _hooks(plan, ready, renew, notifier))


def _tools(plan: MountPlan, keys: KeyStore, writer: RingWriter, rules: Policy, started_ns: int) -> Tools:
    """What a mount works with."""
    freshness = Freshness(keys, plan.serve_stale_s)
    outcomes = Outcomes()
    info = _info(plan, keys, started_ns)
    shown = {**controls(keys, info, lambda: freshness.state), "rotations": outcomes.render}
    tree = Tree(keys, shown, is_writable=not plan.read_only, started_ns=started_ns, policy=rules)
    return Tools(keys, writer, tree, Offload(), freshness, outcomes, plan.allow_destroy)


def _schedule(plan: MountPlan, tools: Tools, broker: KeyBroker) -> RotationSchedule | None:
    """What rotates by schedule, to be run with the broker; nothing does on a mount that is read-only."""
    if plan.read_only:
        return None
    host = platform.node()
    owner = f"{host} {os.getpid()} {secrets.token_hex(4)}"
    worker = Worker(host, owner, tools.keys, tools.writer, tools.keys.store.now_ns)
    schedule = RotationSchedule(worker, plan.rotation(), broker.upkeep, tools.offload)
    broker.tasks.append(schedule.run)
    return schedule


def _begin(on_ready: Callable[[], None], schedule: RotationSchedule | None) -> None:
    on_ready()  # which turns to the daemon's own log
    if schedule is not None:
        schedule.begin()


def _renew_all(renew: Callable[[], None], schedule: RotationSchedule | None, plan: MountPlan) -> None:
    """Read the rotation policy again, too. One that cannot be leaves that in use in use.

    Raises:
        KeyfsError: as *renew*.
    """
    try:
        if schedule is not None:
            schedule.renew(plan.rotation())
    except KeyfsError as exc:
        event(_log, logging.WARNING, "rotation.policy_kept", reason=str(exc))
    renew()


def _renew(tree: Tree, policy: Callable[[], Policy], master_keys: Callable[[], None]) -> None:
    """Read the rules and fetch the master keys again. Rules that cannot be leave those in use in use.

    Raises:
        KeyfsError: as *master_keys*.
    """
    try:
        rules = policy()
        if rules.shows_views:
            forms()
        tree.policy = rules
    except KeyfsError as exc:
        event(_log, logging.WARNING, "policy.kept", reason=str(exc))
    else:
        event(_log, logging.INFO, "policy.renewed")
    master_keys()


def _hooks(
    plan: MountPlan, on_ready: Callable[[], None], renew: Callable[[], None], notifier: Notifier
) -> Hooks:
    """What a mount calls, with what a service manager is to hear of it."""

    def ready() -> None:
        on_ready()
        notifier.tell("READY=1", f"STATUS=mounted at {plan.place or plan.mountpoint}")

    def reload() -> None:
        notifier.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            renew()
        finally:
            notifier.tell("READY=1")

    return Hooks(ready, reload, notifier)


class _Renewal:
    """Fetches the master keys again, and has them used from now on if they open the key store."""

    def __init__(self, keys: KeyStore, access: Access, master_keys: MasterKeys | None) -> None:
        self._keys = keys
        self._reread = access.reread
        self._keeper = access.keeper
        self._uris = access.master_key
        self._master_keys = master_keys

    def __call__(self) -> None:
        """Do it.

        Raises:
            KeyfsError: as `MasterKeys.fetch` and `verify_master_key`; the keys in use stay in use.
        """
        keys, master_keys = self._keys, self._master_keys
        if master_keys is None or keys.protection is None:
            return
        uris = self._uris if self._reread is None else self._reread()
        if uris is not None and uris != self._uris:
            master_keys = MasterKeys(uris, keys.layout.name, keys.store.read_beside, self._keeper)
        members = master_keys.fetch()
        verify_master_key(keys, BlobReader(keys.store, keys.layout, Protections(members)))
        self._uris, self._master_keys = uris, master_keys
        keys.protection.members, keys.protection.described = members, master_keys.describe()


def _info(plan: MountPlan, keys: KeyStore, started_ns: int) -> MountInfo:
    return MountInfo(
        version=version("keyfs"),
        pid=os.getpid(),
        mountpoint=plan.place or plan.mountpoint,
        store=keys.store.describe(),
        layout=keys.layout.name,
        read_only=plan.read_only,
        started=rfc3339(started_ns),
        supervision={} if plan.takeover is None else plan.takeover.facts,
    )


def _outsider(plan: MountPlan) -> Outsider:
    """The process outside; one of a worker also answers for those of earlier workers."""
    if plan.takeover is None:
        return Outsider()
    ledger = plan.takeover.estate.ledger
    outsider = Outsider(earlier_outsiders(ledger))
    note_outsider(ledger, plan.takeover.generation, outsider.pid)
    return outsider
