"""The image: built for real from a Debian made here, and run as packaging/compose.yaml does."""

import hashlib
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from compose_words import run_words, services
from podman_site import LIMITS, RUN, Podman, podman, shared_folder

from keyfs.fs.mounts import mount_at
from keyfs.testing.live import LiveStore, new_live_store
from keyfs.testing.mounted import run_keyfs
from keyfs.testing.needed import need

ROOT = Path(__file__).parents[2]
BASE = "localhost/debian:bookworm-slim"
IMAGE = "localhost/keyfs"
LABEL = "storage-sym/alice"
PUBLIC = "storage/alice/current.pub"
WITHIN_S = 900.0

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800), pytest.mark.usefixtures("fuse_required")]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """With the image, which was built without asking anybody for its base."""
    need("debootstrap", "tar")
    place = tmp_path_factory.mktemp("image")
    with podman(place / "state") as made:
        subprocess.run(
            ["debootstrap", "--variant=minbase", "bookworm", place / "root"], check=True, stdout=-3
        )
        subprocess.run(["tar", "-C", place / "root", "-cf", place / "root.tar", "."], check=True)
        subprocess.run(["rm", "-rf", place / "root"], check=True)
        made.says("import", "--quiet", str(place / "root.tar"), BASE, within_s=WITHIN_S)
        (place / "root.tar").unlink()
        build(made, place)
        yield made
        made.says("system", "reset", "--force", within_s=WITHIN_S)


def build(engine: Podman, place: Path) -> None:
    """With the authorities that this machine trusts, in case its packages come by way of one of them."""
    (place / "pip.conf").write_text("[global]\ncert = /run/authorities.crt\n")
    authorities = ssl.get_default_verify_paths().cafile
    volumes = [
        f"--volume={place}/pip.conf:/etc/pip.conf:ro",
        f"--volume={authorities}:/run/authorities.crt:ro",
    ]
    how = ("--isolation=chroot", "--network=host", "--pull=never", *LIMITS, *volumes)
    definition = ("--file", f"{ROOT}/packaging/oci/Containerfile", "--tag", IMAGE, str(ROOT))
    engine.says("build", *how, *definition, within_s=WITHIN_S)


@pytest.fixture
def store(tmp_path: Path) -> LiveStore:
    made = new_live_store(tmp_path)
    for label in (LABEL, "storage/alice"):
        made.make(label)
    return made


def digest(store: LiveStore) -> str:
    return hashlib.sha256(store.versions(LABEL)["current"]).hexdigest()


def test_its_user_has_no_rights(engine: Podman) -> None:
    said = engine.says("run", "--rm", *RUN, "--entrypoint=id", IMAGE, "-un")
    assert said == "keyfs\n"
    assert "Usage: keyfs" in engine.says("run", "--rm", *RUN, IMAGE)


def test_it_has_what_is_needed_to_run_and_nothing_to_build_or_test(engine: Podman) -> None:
    names = engine.says(
        "run", "--rm", *RUN, "--entrypoint=ls", IMAGE, "/opt/keyfs/lib/python3.11/site-packages"
    )
    assert {"pyfuse3", "trio", "boto3", "redis", "hvac", "pkcs11"} <= set(names.split())
    assert not {"pytest", "hypothesis", "mypy", "Cython", "uv"} & set(names.split())
    assert engine.run("run", "--rm", *RUN, "--entrypoint=gcc", IMAGE).returncode != 0


def test_the_compose_file_serves_an_unprivileged_program_from_a_container(
    engine: Podman, store: LiveStore, tmp_path: Path
) -> None:
    """It sees the mount of the other, and a rotation; keys that are not its own stay closed to it."""
    with shared_folder(tmp_path / "shared") as shared:
        (shared / "keys").mkdir()
        said = services({"KEYFS_FOLDER": str(shared), "STORE_FOLDER": str(tmp_path)})
        keeper = run_words(said["keyfs"], IMAGE)
        with (
            engine.container(*run_words(said["app"], BASE)) as app,
            engine.container(*keeper) as keyfs,
        ):
            waited = run_keyfs("wait", "--for", shared / "keys" / PUBLIC, environment={})
            assert waited.returncode == 0, (waited.stderr, engine.run("logs", keyfs))
            mine = (shared / "keys" / LABEL / "current").read_bytes()
            assert hashlib.sha256(mine).hexdigest() == digest(store)
            for _ in range(2):
                seen = engine.inside(app, "sha256sum", f"/run/keyfs/keys/{PUBLIC}").stdout.split(" ")[0]
                assert seen == hashlib.sha256((shared / "keys" / PUBLIC).read_bytes()).hexdigest()
                store.make("storage/alice")
            refused = engine.inside(app, "cat", f"/run/keyfs/keys/{LABEL}/current")
            assert (refused.stdout, "Permission denied" in refused.stderr) == ("", True)
            assert engine.inside(app, "id", "-u").stdout == "1000\n"
            assert engine.run("healthcheck", "run", keyfs).returncode == 0
            engine.says("stop", "--time=10", keyfs)
        assert mount_at(str(shared / "keys")) is None
