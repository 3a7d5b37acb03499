"""Where keys are held: memory of their own, wiped when dropped, locked, in no core, not in a forked child."""

import ctypes
import gc
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from keyfs.core.secret import Secret
from keyfs.custody import allocate, held, key_memory
from keyfs.custody import memory as custody_memory

MATERIAL = bytes(range(40))
KINDS = ["memfd_secret", "mlock", "undumped"]


def mappings() -> str:
    return Path("/proc/self/smaps").read_text()


def run(source: str) -> int:
    return subprocess.run([sys.executable, "-c", source], check=False, stderr=subprocess.DEVNULL).returncode


def flags_of(room: memoryview) -> set[str]:
    pages = room.obj
    assert isinstance(pages, ctypes.Array)
    entry = mappings().partition(f"\n{ctypes.addressof(pages):x}-")[2]
    return set(entry.partition("VmFlags:")[2].partition("\n")[0].split())


def need(kind: str) -> memoryview:
    room = custody_memory._room(40, kind)
    if room is None:
        pytest.skip(f"this machine grants no {kind} memory")
    return room


def test_a_held_secret_is_a_secret_like_any_other() -> None:
    source = bytearray(MATERIAL)
    secret = held(source)
    source[:] = bytes(40)
    assert secret == Secret(MATERIAL) == held(MATERIAL)
    assert secret != held(MATERIAL[1:])
    assert (len(secret), secret.reveal(), repr(secret)) == (40, MATERIAL, "<Secret 40 bytes>")
    with pytest.raises(TypeError):
        secret.view()[0] = 1
    secret.wipe()
    secret.wipe()
    assert secret.reveal() == bytes(40)


@pytest.mark.parametrize("size", [0, 1, 4096, 4097, 70_000])
def test_any_size_can_be_had(size: int) -> None:
    room = allocate(size)
    assert (len(room), bytes(room)) == (size, bytes(size))
    room[:] = b"x" * size
    assert Secret.adopt(room).reveal() == b"x" * size


def test_a_view_outlives_its_secret_and_then_all_is_given_back() -> None:
    if key_memory() != "memfd_secret":
        pytest.skip("only such memory has a name in /proc/self/smaps")
    before = mappings().count("secretmem")
    secret = held(MATERIAL)
    view = secret.view()
    del secret
    gc.collect()
    assert bytes(view) == MATERIAL
    assert mappings().count("secretmem") == before + 1
    del view
    assert mappings().count("secretmem") == before


def test_it_leaves_no_descriptor() -> None:
    before = os.listdir("/proc/self/fd")
    secrets = [held(MATERIAL) for _ in range(5)]
    assert len(os.listdir("/proc/self/fd")) == len(before)
    assert len(secrets) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_excluded_from_cores_and_from_forked_children(kind: str) -> None:
    """`dd`: not dumped; `dc`: not copied by fork; `lo`: locked."""
    flags = flags_of(need(kind))
    assert {"dd", "dc"} <= flags
    assert ("lo" in flags) == (kind != "undumped")


def test_a_forked_child_cannot_look_and_harms_nothing() -> None:
    source = f"""
import os, gc
from keyfs.custody import held
secret = held({MATERIAL!r})
child = os.fork()
if child == 0:
    del secret
    gc.collect()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert secret.reveal() == {MATERIAL!r}
if os.fork() == 0:
    secret.reveal()
    os._exit(0)
status = os.wait()[1]
assert os.WTERMSIG(status) == {int(signal.SIGSEGV)}, status
"""
    assert run(source) == 0


def test_where_no_memory_may_be_locked_it_is_still_not_dumped() -> None:
    """The limit counts for whoever has no CAP_IPC_LOCK."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    source = f"""
import os, resource
import keyfs.custody as custody
resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
os.setgroups([]); os.setgid(65534); os.setuid(65534)
assert custody.key_memory() == "undumped", custody.key_memory()
assert custody.held({MATERIAL!r}).reveal() == {MATERIAL!r}
assert not custody.lock_memory()
assert custody.raise_guards().key_memory == "undumped"
"""
    assert run(source) == 0


def test_when_the_limit_is_reached_keys_are_still_held() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    source = f"""
import os, resource
import keyfs.custody as custody
resource.setrlimit(resource.RLIMIT_MEMLOCK, (16384, 16384))
os.setgroups([]); os.setgid(65534); os.setuid(65534)
secrets = [custody.held({MATERIAL!r}) for _ in range(20)]
assert all(secret.reveal() == {MATERIAL!r} for secret in secrets)
assert custody.key_memory() == "undumped"
del secrets
assert custody.key_memory() != "undumped"
"""
    assert run(source) == 0


LOCKED = """
import os, resource, sys
from pathlib import Path
import keyfs.custody as custody
limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)
found = custody.lock_memory()
assert resource.getrlimit(resource.RLIMIT_MEMLOCK)[1] == limit[1]
status = Path("/proc/self/status").read_text()
locked = int(status.partition("VmLck:")[2].split()[0])
assert (locked > 1000) == found, (locked, found)
bytearray(50_000_000)
sys.exit(10 + found)
"""


def test_all_memory_is_locked_where_no_limit_applies() -> None:
    assert run(LOCKED) in (10, 11)
    if os.geteuid() == 0:
        assert run(LOCKED) == 11


@pytest.mark.parametrize("wanted", ["as it is", "none"])
def test_a_limit_that_could_be_met_later_forbids_the_lock(wanted: str) -> None:
    """The process goes on allocating: a lock under a finite limit would end it one day."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1] if wanted == "as it is" else resource.RLIM_INFINITY
    become = f"""
import keyfs.custody, os, resource, sys
try:
    resource.setrlimit(resource.RLIMIT_MEMLOCK, ({hard}, {hard}))
except ValueError:
    sys.exit(77)
os.setuid(65534)
"""
    code = run(become + LOCKED)
    if code == 77:
        pytest.skip("root may not raise this limit here: no CAP_SYS_RESOURCE")
    assert code == (11 if hard == resource.RLIM_INFINITY else 10)
