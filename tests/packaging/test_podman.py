"""Containers as they are run: podman and runc, keys on the host or from a container, rotation, restarts."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from passed import passed_descriptor
from podman_site import NO_NETWORK, RUN, TO_MOUNT, Podman, plain_root, podman, python_root, shared_folder

from keyfs.fs.mounts import mount_at, status_of
from keyfs.testing.live import LiveStore, new_live_store
from keyfs.testing.mounted import keyfs_environment, mounted, run_keyfs
from keyfs.testing.waiting import wait_until

APP_USER = 1234
STRANGER = 4321
LABEL = "storage-sym/alice"
PAIR = "storage/alice"
IN_CONTAINER = f"/keys/mnt/{LABEL}/current"
PUBLIC = f"/keys/mnt/{PAIR}/current.pub"

pytestmark = pytest.mark.usefixtures("fuse_required")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    with podman(tmp_path_factory.mktemp("podman") / "state") as made:
        yield made


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plain_root(tmp_path_factory.mktemp("plain") / "root")


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    with shared_folder(tmp_path / "shared") as made:
        (made / "mnt").mkdir()
        yield made


@pytest.fixture
def store(tmp_path: Path) -> LiveStore:
    made = new_live_store(tmp_path)
    for label in (LABEL, PAIR):
        made.make(label)
    return made


@contextmanager
def mounted_for(uid: int, store: LiveStore, place: Path) -> Iterator[int]:
    """The keys belong to this user, because the daemon is a process of his; yields its number.

    It may read everything, since this checkout and its Python may lie where he may not go.
    """
    store.log.touch()
    for path in (store.root, *store.root.rglob("*"), store.master_key, store.log):
        os.chown(path, uid, uid)
    fd = passed_descriptor(place, uid)
    right = "dac_read_search"
    as_user = [f"--reuid={uid}", f"--regid={uid}", "--clear-groups", f"--inh-caps=-all,+{right}"]
    mount = ["mount", "--read-only", f"--log-file={store.log}", f"--mounted-at={place}", f"/dev/fd/{fd}"]
    try:
        subprocess.run(
            ["setpriv", *as_user, f"--ambient-caps=-all,+{right}", sys.executable, "-m", "keyfs", *mount],
            env=keyfs_environment(store.environment),
            pass_fds=(fd,),
            check=True,
            timeout=60,
        )
        os.close(fd)
        pid = int(json.loads((place / ".keyfs/status.json").read_bytes())["pid"])
        yield pid
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)
    wait_until(lambda: not Path(f"/proc/{pid}").exists())


@contextmanager
def supervised_for(uid: int, store: LiveStore, place: Path) -> Iterator[None]:
    """A supervised mount whose keys belong to this user by a rule."""
    config = store.root.parent / "keyfs.toml"
    config.write_text(f'[[rule]]\npurpose = "*"\nowner = {uid}\nmode = "0400"\n')
    options = (
        "--supervised",
        "--read-only",
        "--allow-other",
        f"--config={config}",
        f"--log-file={store.log}",
    )
    with mounted(place, *options, environment=store.environment):
        yield


def digest(store: LiveStore) -> str:
    return hashlib.sha256(store.versions(LABEL)["current"]).hexdigest()


def test_a_container_reads_keys_through_rotations_and_restarts(
    engine: Podman, root: Path, shared: Path, store: LiveStore
) -> None:
    """It was there first, has a read-only `rslave` volume, and an unprivileged user."""

    def read() -> str:
        return engine.inside(number, "sha256sum", IN_CONTAINER).stdout.split(" ")[0]

    volume = f"--volume={shared}:/keys:ro,rslave"
    with engine.container(
        NO_NETWORK, f"--user={APP_USER}", "--read-only", volume, "--rootfs", str(root), "/bin/sleep", "600"
    ) as number:
        assert read() == ""
        with mounted_for(APP_USER, store, shared / "mnt"):
            assert engine.inside(number, "id", "-u").stdout == f"{APP_USER}\n"
            assert read() == digest(store)
            store.make(LABEL)
            assert read() == digest(store)
            refused = engine.inside(number, "sh", "-c", f"echo x > {IN_CONTAINER}")
            assert "Permission denied" in refused.stderr  # whatever `ro` of a volume says of mounts below it
            assert read() == digest(store)
            stranger = engine.run("exec", f"--user={STRANGER}", number, "cat", IN_CONTAINER)
            assert (stranger.stdout, "Permission denied" in stranger.stderr) == ("", True)
            public = engine.run("exec", f"--user={STRANGER}", number, "sha256sum", PUBLIC)
            assert public.returncode == 0
        assert "No such file" in engine.inside(number, "cat", IN_CONTAINER).stderr
        store.make(LABEL)
        with supervised_for(APP_USER, store, shared / "mnt"):
            worker = int(str(status_of(str(shared / "mnt"))["pid"]))
            os.kill(worker, signal.SIGKILL)
            assert read() == digest(store)
            store.make(LABEL)
            wait_until(lambda: read() == digest(store))


def test_the_mountpoint_itself_for_a_volume(
    engine: Podman, root: Path, shared: Path, store: LiveStore
) -> None:
    """As `docker run -v /keys:/keys:ro` has it. podman refuses a volume whose statfs fails."""
    with mounted_for(APP_USER, store, shared / "mnt"):
        volume = f"--volume={shared}/mnt:/keys:ro"
        words = (volume, f"--user={APP_USER}", "--rm", *RUN)
        command = ("sha256sum", f"/keys/{LABEL}/current")
        said = engine.says("run", *words, "--rootfs", str(root), *command)
        assert said.split(" ")[0] == digest(store)


def test_keys_from_a_container_are_seen_by_the_host_and_by_another_container(
    engine: Podman, root: Path, shared: Path, store: LiveStore, tmp_path: Path
) -> None:
    """It has no right but the one to mount, a read-only root, and its volume is `rshared`."""
    python, volumes = python_root(tmp_path / "python")
    place = f"--volume={tmp_path}:/site"
    settings = {"KEYFS_STORE": "dir:/site/keys", "KEYFS_MASTER_KEY": "file:/site/master.key"}
    env = [f"--env={name}={value}" for name, value in settings.items()]
    mount = [sys.executable, "-m", "keyfs", "mount", "--foreground", "--allow-other", "/keys/mnt"]
    keyfs = [
        NO_NETWORK,
        *TO_MOUNT,
        *volumes,
        place,
        f"--volume={shared}:/keys:rshared",
        *env,
        "--rootfs",
        str(python),
        *mount,
    ]
    volume = f"--volume={shared}:/keys:ro,rslave"
    app = (NO_NETWORK, "--user=0", "--read-only", volume, "--rootfs", str(root), "/bin/sleep", "600")
    with engine.container(*app) as reader, engine.container(*keyfs) as keeper:
        waited = run_keyfs("wait", "--for", shared / "mnt" / LABEL / "current", environment={})
        assert waited.returncode == 0, (waited.stderr, engine.run("logs", keeper))
        assert hashlib.sha256((shared / "mnt" / LABEL / "current").read_bytes()).hexdigest() == digest(store)
        assert engine.inside(reader, "sha256sum", IN_CONTAINER).stdout.split(" ")[0] == digest(store)
        store.make(LABEL)
        assert engine.inside(reader, "sha256sum", IN_CONTAINER).stdout.split(" ")[0] == digest(store)
        engine.says("stop", "--time=10", keeper)
        assert engine.says("inspect", "--format={{.State.ExitCode}}", keeper) == "0\n"
        assert mount_at(str(shared / "mnt")) is None
        assert "No such file" in engine.inside(reader, "cat", IN_CONTAINER).stderr
