"""Both sides of `keyfs mount --supervised`: leaving the field to a supervisor, and what its workers find."""

import json
import os
import secrets
import sys
from typing import Final, NoReturn

from keyfs.custody import ESTATE_BYTES, Estate, create_area, held
from keyfs.fs.mount import MountPlan
from keyfs.master.base import MasterKey
from keyfs.master.env import adopt_variable, hidden_variables
from keyfs.master.registry import split_uris
from keyfs.master_keys import hide_variables
from keyfs.supervisor import __main__ as supervisor

_VARIABLE: Final = "variable "
_ENCRYPTION: Final = "encryption of "
_SIGNATURE: Final = "signature of "


def become_supervisor(
    plan: MountPlan, master_key: str | None, arguments: tuple[str, ...], ready: int | None
) -> NoReturn:
    """Put a supervisor in the place of this process. What secrets we had go into the estate of its workers.

    Args:
        plan: where and how to mount.
        master_key: its URIs.
        arguments: of the command that workers repeat.
        ready: descriptor of a pipe for the byte that says that the mount is ready; None for the foreground.
    """
    uris = [] if master_key is None else split_uris(master_key)
    descriptor, memory = create_area(ESTATE_BYTES)
    if master_key is not None:
        hide_variables(master_key)
    estate = Estate(memory)
    for name, value in hidden_variables():
        estate.keep_secret(f"{_VARIABLE}{name}", value)
    settings = {
        "python": sys.executable,
        "arguments": arguments,
        "directory": os.getcwd(),
        "mountpoint": plan.mountpoint,
        "options": plan.options(),
        "control": f"keyfs.{os.getpid()}.{secrets.token_hex(8)}",
        "grace_s": plan.grace_s,
        "estate": descriptor,
        "only_first": [int(uri[3:]) for uri in uris if uri.startswith("fd:") and uri[3:].isdecimal()],
        "ready": ready,
    }
    for passed in (descriptor, ready):
        if passed is not None:
            os.set_inheritable(passed, True)
    sys.stdout.flush()
    sys.stderr.flush()
    # Nothing of site-packages: the supervisor has the standard library alone.
    words = [sys.executable, "-I", "-S", supervisor.__file__, plan.mountpoint, json.dumps(settings)]
    os.execv(sys.executable, words)  # noqa: S606 - our own program


def adopt_variables(estate: Estate) -> None:
    """Have `env:` find what `become_supervisor` took out of the environment."""
    for name, value in estate.secrets(_VARIABLE).items():
        adopt_variable(name, held(value))


class KeptMasterKeys:
    """Master keys that an earlier worker fetched: after a crash nobody is asked for them again.

    Args:
        estate: where they are.
        role: of this worker: one that brings a new configuration fetches all keys anew.
    """

    def __init__(self, estate: Estate, role: str) -> None:
        self._estate = estate
        self._is_again = role == "again"
        self._recalled: set[str] = set()

    def recall(self, uri: str) -> MasterKey | None:
        """The key that was fetched there; None if it is to be fetched. Only the first call may give one."""
        is_once = uri.startswith("fd:")  # nothing more comes out of it
        if not (self._is_again or is_once) or uri in self._recalled:
            return None
        self._recalled.add(uri)
        encryption = self._estate.secrets(_ENCRYPTION).get(uri)
        signature = self._estate.secrets(_SIGNATURE).get(uri)
        if encryption is None:
            return None
        return MasterKey(held(encryption), None if signature is None else held(signature))

    def keep(self, uri: str, key: MasterKey) -> None:
        """Let later workers recall *key*."""
        for prefix, part in ((_ENCRYPTION, key.encryption), (_SIGNATURE, key.signature)):
            if part is not None:
                with part.view() as view:
                    self._estate.keep_secret(f"{prefix}{uri}", view)
