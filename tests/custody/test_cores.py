"""A core made on purpose holds no part of a key that is in custody. First, that the search would find one."""

from pathlib import Path

import pytest
from waiting_process import waiting

from keyfs.custody import memory
from keyfs.testing import canary
from keyfs.testing.cores import found_in_core_of, need_gcore, windows
from keyfs.testing.master_contract import base64

KEY = canary.MASTER_KEY
SIGNATURE_KEY = canary.SYMMETRIC
V1_TEXT = base64(KEY)
V2_TEXT = base64(b'{"encryption":"%b","signature":"%b"}' % (V1_TEXT, base64(SIGNATURE_KEY)))


@pytest.fixture(autouse=True)
def gcore() -> None:
    need_gcore()


# --- controls ---


def test_a_key_in_ordinary_memory_is_found(tmp_path: Path) -> None:
    with waiting("key = os.read(0, 100)", KEY) as pid:
        found = found_in_core_of(pid, tmp_path, KEY)
    assert set(found) == {name for name, _ in windows(KEY) if name.startswith("raw") and "back" not in name}


def test_a_part_in_any_dress_is_found(tmp_path: Path) -> None:
    part = KEY[20:31]  # the shortest that always is
    given = b"\n".join((part, part[::-1], part.hex().encode(), part.hex().upper().encode(), V1_TEXT[9:40]))
    with waiting("key = os.read(0, 1000)", given) as pid:
        found = found_in_core_of(pid, tmp_path, KEY)
    for dress in ("raw bytes at 20", "raw bytes at 20, backwards", "hex at 20", "capital hex at 20"):
        assert dress in found
    assert any(name.startswith("base64") for name in found)


def test_a_forgotten_key_is_found(tmp_path: Path) -> None:
    """What is freed is not overwritten: this is what the rest is about."""
    with waiting("key = os.read(0, 5000)[:]; del key", KEY * 100) as pid:
        assert found_in_core_of(pid, tmp_path, KEY)


def test_pythons_own_base64_decoder_leaves_the_key_behind(tmp_path: Path) -> None:
    """Else we would use it. It works on the stack; deep down there nobody else comes by."""
    source = """
import binascii
from keyfs.custody import allocate, wipe_immutable
text = allocate(64)
os.readv(0, [text])
def decode(depth):
    return binascii.a2b_base64(text) if depth == 0 else next(map(decode, [depth - 1]))
key = decode(100)
assert wipe_immutable(key)
"""
    with waiting(source, V1_TEXT) as pid:
        assert found_in_core_of(pid, tmp_path, KEY)


# --- custody ---

HOLD = """
from keyfs.core.secret import Secret
from keyfs.custody import memory
room = memory._room({size}, {kind!r})
assert os.readv(0, [room]) == {size}
secret = Secret.adopt(room)
"""


@pytest.mark.parametrize("kind", ["memfd_secret", "mlock", "undumped"])
def test_a_held_key_is_not_found(tmp_path: Path, kind: str) -> None:
    if memory._room(1, kind) is None:
        pytest.skip(f"this machine grants no {kind} memory")
    with waiting(HOLD.format(size=len(KEY), kind=kind), KEY) as pid:
        assert found_in_core_of(pid, tmp_path, KEY) == {}
        # A debugger that is told to dump all gets what the kernel lets it read.
        assert bool(found_in_core_of(pid, tmp_path, KEY, whole=True)) == (kind != "memfd_secret")


def test_what_sealing_and_opening_leaves_is_no_key(tmp_path: Path) -> None:
    source = HOLD.format(size=len(KEY), kind="undumped") + (
        "from keyfs.seal.pure import PureSealer\n"
        "sealer = PureSealer(secret)\n"
        "for size in range(1, 500):\n"
        "    assert len(sealer.unseal(sealer.seal(Secret(bytes(size)), b'alice'), b'alice')) == size\n"
    )
    with waiting(source, KEY) as pid:
        assert found_in_core_of(pid, tmp_path, KEY) == {}


@pytest.mark.parametrize("layout", ["v1", "v2"])
def test_what_decoding_leaves_is_no_key(tmp_path: Path, layout: str) -> None:
    path = tmp_path / "key.canary-input"
    path.touch(mode=0o600)
    path.write_bytes(V2_TEXT if layout == "v2" else V1_TEXT)
    source = f"""
from keyfs.master.registry import open_provider
provider = open_provider("file:{path}", "{layout}")
for _ in range(20):
    key = provider.fetch()
assert key == provider.fetch()
"""
    with waiting(source) as pid:
        secrets = (KEY, SIGNATURE_KEY, V1_TEXT, base64(SIGNATURE_KEY))
        assert found_in_core_of(pid, tmp_path, *secrets) == {}


def test_what_refusing_leaves_is_no_key(tmp_path: Path) -> None:
    """A key that is refused for a blank or a missing brace is a key all the same."""
    for layout, text in (("v1", V1_TEXT + b" "), ("v1", V2_TEXT), ("v2", V2_TEXT[:-8])):
        path = tmp_path / "key.canary-input"
        path.touch(mode=0o600)
        path.write_bytes(text)
        source = f"""
from keyfs.errors import MasterKeyUnavailable
from keyfs.master.registry import open_provider
try:
    open_provider("file:{path}", "{layout}").fetch()
except MasterKeyUnavailable as exc:
    caught = exc
assert caught
"""
        with waiting(source) as pid:
            assert found_in_core_of(pid, tmp_path, KEY, V1_TEXT) == {}


def test_a_key_that_was_fetched_apart_is_not_found_here(tmp_path: Path) -> None:
    """The plug-in keeps it in ordinary memory, prints it, and lets nothing go."""
    (tmp_path / "plug_core_module.py").write_text("""
from keyfs.core.secret import Secret
from keyfs.master.base import MasterKey
class Provider:
    def __init__(self, rest, layout):
        self.kept = open(rest, "rb").read()
    def fetch(self):
        print(self.kept, flush=True)
        return MasterKey(Secret(self.kept), Secret(self.kept[::-1]), ("a warning",))
    def describe(self):
        return "corekey:"
""")
    info = tmp_path / "plug_core-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plug_core\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[keyfs.master_keys]\ncorekey = plug_core_module:Provider\n")
    path = tmp_path / "key.canary-input"
    path.write_bytes(KEY)
    source = f"""
os.environ["PYTHONPATH"] = {str(tmp_path)!r}
from keyfs.master.apart import provider_of
key = provider_of("corekey:{path}", "v2", None, 60.0).fetch()
assert (len(key.encryption), len(key.signature), len(key.warnings)) == ({len(KEY)}, {len(KEY)}, 1)
"""
    with waiting(source) as pid:
        assert found_in_core_of(pid, tmp_path, KEY) == {}
