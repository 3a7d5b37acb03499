"""The composition of a running mount: key store, broker, tree, handlers."""

import os
import time
from collections.abc import Callable
from contextlib import closing
from importlib.metadata import version

from keyfs.app import Access, open_renewable
from keyfs.broker.broker import KeyBroker
from keyfs.broker.check import verify_master_key
from keyfs.broker.controls import MountInfo, controls
from keyfs.broker.freshness import Freshness
from keyfs.broker.keystore import KeyStore
from keyfs.broker.reader import BlobReader
from keyfs.broker.tree import Tree
from keyfs.core.policy import Ownership
from keyfs.core.stamps import rfc3339
from keyfs.custody import lock_memory
from keyfs.fs.mount import Hooks, MountPlan, serve
from keyfs.fs.operations import KeyfsOperations
from keyfs.fs.outsider import Outsider
from keyfs.master_keys import MasterKeys, hide_variables, patiently
from keyfs.offload import Offload
from keyfs.seal.protection import Protections


def run_service(plan: MountPlan, access: Access, on_ready: Callable[[], None]) -> None:
    """Open the key store, prove the master key, mount, and serve until the mount ends.

    Raises:
        KeyfsError: as `open_keys`, `verify_master_key`, `serve`; before the mount nothing is mounted.
    """
    lock_memory()
    if access.master_key is not None:
        hide_variables(access.master_key)  # before anything is started that should not have them
    keys, writer, master_keys = open_renewable(access)
    try:
        watch = keys.watch()
        patiently(lambda: verify_master_key(keys), access.wait_s)
        started_ns = time.time_ns()
        info = _info(plan, master_keys, keys, started_ns)
        freshness = Freshness(keys, plan.serve_stale_s)
        shown = controls(keys, info, lambda: freshness.state)
        tree = Tree(keys, shown, is_writable=not plan.read_only, started_ns=started_ns)
        broker = KeyBroker(keys, writer, tree, Offload(), freshness)
        operations = KeyfsOperations(broker, Ownership(os.getuid(), os.getgid()))
        # Before the mount, so that it can hold nothing of it.
        with closing(Outsider()) as outsider:
            hooks = Hooks(on_ready, lambda: _renew(keys, master_keys))
            serve(plan, operations, broker, watch, outsider, hooks)
    finally:
        keys.close()


def _renew(keys: KeyStore, master_keys: MasterKeys | None) -> None:
    """Fetch the master keys again, and use them from now on if they open the key store.

    Raises:
        KeyfsError: as `MasterKeys.fetch` and `verify_master_key`; those in use stay in use.
    """
    if master_keys is None or keys.protection is None:
        return
    members = master_keys.fetch()
    verify_master_key(keys, BlobReader(keys.store, keys.layout, Protections(members)))
    keys.protection.members = members


def _info(plan: MountPlan, master_keys: MasterKeys | None, keys: KeyStore, started_ns: int) -> MountInfo:
    return MountInfo(
        version=version("keyfs"),
        pid=os.getpid(),
        mountpoint=plan.mountpoint,
        store=keys.store.describe(),
        layout=keys.layout.name,
        master_key="none" if master_keys is None else master_keys.describe(),
        sealer="none" if keys.protection is None else keys.protection.engine,
        read_only=plan.read_only,
        started=rfc3339(started_ns),
    )
