"""A mount whose master key comes from each of the local sources reads what Acra wrote."""

import subprocess
import sys
from base64 import b64decode
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from softhsm import SoftHSM

from keyfs.core.secret import Secret
from keyfs.master.registry import open_key
from keyfs.testing.mounted import keyfs_environment, run_keyfs
from keyfs.testing.stores import RealStore, restore_real_store

VECTORS = Path(__file__).parents[1] / "vectors"
PURPOSES = {"symmetric": "storage-sym", "storage": "storage"}


@dataclass(frozen=True)
class Source:
    """Where the master key is for a command, and what that needs."""

    uri: str
    environment: dict[str, str] = field(default_factory=dict)
    stdin: bytes = b""


def in_credential(text: bytes, place: Path) -> Source:
    (place / "acra").write_bytes(text)
    (place / "acra").chmod(0o400)
    return Source("credential:acra", {"CREDENTIALS_DIRECTORY": str(place)})


def in_descriptor(text: bytes, place: Path) -> Source:
    return Source("fd:0", stdin=text)


def in_command(text: bytes, place: Path) -> Source:
    (place / "the key").write_bytes(text)
    return Source(f"command:/bin/cat '{place}/the key'")


def in_hsm(text: bytes, place: Path) -> Source:
    hsm = SoftHSM(place)
    hsm.add_token("keyfs")
    uri = hsm.uri(options=f"&from=file:{place}/wrapped")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(hsm.conf))
        open_key(uri).create()
        (place / "wrapped").write_bytes(open_key(uri).wrap(Secret(b64decode(text))))
    return Source(uri, {"SOFTHSM2_CONF": str(hsm.conf)})


@pytest.fixture(params=[in_credential, in_descriptor, in_command, in_hsm])
def source(request: pytest.FixtureRequest, store: RealStore, tmp_path: Path) -> Source:
    place = tmp_path / "source"
    place.mkdir()
    made: Source = request.param(store.master_key.encode(), place)
    return made


@pytest.fixture
def store(tmp_path: Path) -> RealStore:
    return restore_real_store(VECTORS, "v1-dir", tmp_path)


def keys_of(store: RealStore) -> dict[str, bytes]:
    """What Acra itself reads there of its clients, by path below a mount."""
    found = {}
    for question, answer in store.manifest["acra_keys_read"].items():
        name, _, half = question.removeprefix("client/").partition(" --")
        client, _, kind = name.rpartition("/")
        if kind in PURPOSES and client and "hex" in answer:
            path = f"{PURPOSES[kind]}/{client}/current{'.pub' if half == 'public' else ''}"
            found[path] = bytes.fromhex(answer["hex"])
    return found


def test_a_mount_reads_what_acra_wrote(
    source: Source, store: RealStore, tmp_path: Path, fuse_required: None
) -> None:
    """The mount's process goes into the background with the key."""
    environment = {"KEYFS_STORE": store.uri, "KEYFS_MASTER_KEY": source.uri, **source.environment}
    mountpoint = tmp_path / "mount"
    mountpoint.mkdir()
    mount = run_keyfs("mount", mountpoint, environment=environment, stdin=source.stdin)
    assert (mount.returncode, mount.stderr) == (0, b"")
    try:
        wanted = keys_of(store)
        assert len(wanted) > 5
        assert {path: (mountpoint / path).read_bytes() for path in wanted} == wanted
    finally:
        assert run_keyfs("umount", mountpoint, environment=environment).returncode == 0


def test_a_command_reads_what_acra_wrote(source: Source, store: RealStore) -> None:
    environment = {"KEYFS_STORE": store.uri, "KEYFS_MASTER_KEY": source.uri, **source.environment}
    done = run_keyfs("read", "storage-sym/alice", environment=environment, stdin=source.stdin)
    assert (done.stdout, done.stderr) == (keys_of(store)["storage-sym/alice/current"], b"")


def test_a_shell_passes_the_key_by_a_redirection(store: RealStore, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(store.master_key)
    done = subprocess.run(
        [
            "bash",
            "-c",
            '"$@" 3<"$0"',
            tmp_path / "key",
            sys.executable,
            "-m",
            "keyfs",
            "read",
            "storage-sym/alice",
        ],
        env=keyfs_environment({"KEYFS_STORE": store.uri, "KEYFS_MASTER_KEY": "fd:3"}),
        capture_output=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == (keys_of(store)["storage-sym/alice/current"], b"")
