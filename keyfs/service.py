"""The composition of a running mount: key store, broker, tree, handlers."""

import os
import time
from collections.abc import Callable
from contextlib import closing
from importlib.metadata import version

from keyfs.app import Access, hide_master_key, open_keys
from keyfs.broker.broker import KeyBroker
from keyfs.broker.check import verify_master_key
from keyfs.broker.controls import MountInfo, controls
from keyfs.broker.freshness import Freshness
from keyfs.broker.keystore import KeyStore
from keyfs.broker.tree import Tree
from keyfs.core.policy import Ownership
from keyfs.core.stamps import rfc3339
from keyfs.custody import lock_memory
from keyfs.fs.mount import MountPlan, serve
from keyfs.fs.operations import KeyfsOperations
from keyfs.fs.outsider import Outsider
from keyfs.offload import Offload


def run_service(plan: MountPlan, access: Access, on_ready: Callable[[], None]) -> None:
    """Open the key store, prove the master key, mount, and serve until the mount ends.

    Raises:
        KeyfsError: as `open_keys`, `verify_master_key`, `serve`; before the mount nothing is mounted.
    """
    lock_memory()
    hide_master_key(access.master_key)  # before anything is started that should not have it
    keys, writer = open_keys(access)
    try:
        watch = keys.watch()
        verify_master_key(keys)
        started_ns = time.time_ns()
        info = _info(plan, access, keys, started_ns)
        freshness = Freshness(keys, plan.serve_stale_s)
        shown = controls(keys, info, lambda: freshness.state)
        tree = Tree(keys, shown, is_writable=not plan.read_only, started_ns=started_ns)
        broker = KeyBroker(keys, writer, tree, Offload(), freshness)
        operations = KeyfsOperations(broker, Ownership(os.getuid(), os.getgid()))
        # Before the mount, so that it can hold nothing of it.
        with closing(Outsider()) as outsider:
            serve(plan, operations, broker, watch, outsider, on_ready)
    finally:
        keys.close()


def _info(plan: MountPlan, access: Access, keys: KeyStore, started_ns: int) -> MountInfo:
    return MountInfo(
        version=version("keyfs"),
        pid=os.getpid(),
        mountpoint=plan.mountpoint,
        store=keys.store.describe(),
        layout=keys.layout.name,
        master_key=access.master_key or "none",
        sealer=keys.sealer.engine if keys.sealer is not None else "none",
        read_only=plan.read_only,
        started=rfc3339(started_ns),
    )
