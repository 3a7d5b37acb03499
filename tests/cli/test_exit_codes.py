"""Every exit code of the table is brought about by a real command, with one line that says what to do."""

import base64
import fcntl
import inspect
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import keyfs

from keyfs import errors
from keyfs.cli.exitcodes import BUG, EXIT_CODES, FINDINGS, INTERRUPTED, OK, USAGE
from keyfs.cli.main import report_errors
from keyfs.core.names import parse_key_ref
from keyfs.core.secret import Secret
from keyfs.testing.live import LiveStore, new_live_store
from keyfs.testing.mounted import keyfs_environment
from keyfs.testing.other_user import beside_nobody

VECTORS = Path(__file__).parents[1] / "vectors"
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="changes user or mounts, which needs root")
ERRORS = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, errors.KeyfsError)]
LABEL = "storage-sym/alice"


@pytest.fixture
def store(tmp_path: Path) -> LiveStore:
    made = new_live_store(tmp_path)
    made.make(LABEL, b"k" * 32)
    return made


# --- the table ---


def test_every_error_has_an_exit_code() -> None:
    assert set(EXIT_CODES) == set(ERRORS) - {errors.KeyfsError}


def test_exit_codes_collide_with_nothing_else() -> None:
    """Neither with success, nor with what shells use from 126 on; 2 is shared with usage on purpose."""
    others = {OK, FINDINGS, BUG, INTERRUPTED}
    assert not others & set(EXIT_CODES.values())
    assert all(USAGE <= code < 70 for code in EXIT_CODES.values())


@pytest.mark.parametrize("cls", EXIT_CODES)
def test_an_error_ends_a_command_with_its_code_and_one_line(
    cls: type[errors.KeyfsError], capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> None:
        raise cls("what is wrong:\nwhat to do")

    assert report_errors(work) == EXIT_CODES[cls]
    assert capsys.readouterr() == ("", "keyfs: what is wrong: what to do\n")


# --- each of them, for real ---

ROTATE = [sys.executable, "-m", "keyfs", "rotate", LABEL]

Provoke = Callable[[LiveStore], "tuple[int, str]"]


def refused(store: LiveStore, *words: str | Path, stdin: bytes = b"", **environment: str) -> tuple[int, str]:
    ran = keyfs(*words, environment=store.environment | environment, stdin=stdin)
    return ran.code, ran.refusal()


def invalid_settings(store: LiveStore) -> tuple[int, str]:
    return refused(store, "list", "--store", "s3://bucket")


def invalid_name(store: LiveStore) -> tuple[int, str]:
    return refused(store, "read", "nonsense/alice")


def client_id_too_long(store: LiveStore) -> tuple[int, str]:
    return refused(store, "generate", f"storage/{'x' * 250}")


def key_not_found(store: LiveStore) -> tuple[int, str]:
    return refused(store, "rotate", "storage-sym/nobody")


def key_exists(store: LiveStore) -> tuple[int, str]:
    return refused(store, "generate", LABEL)


def invalid_material(store: LiveStore) -> tuple[int, str]:
    return refused(store, "rotate", LABEL, "--from-file", "-", stdin=b"short")


def master_key_unavailable(store: LiveStore) -> tuple[int, str]:
    return refused(store, "read", LABEL, KEYFS_MASTER_KEY="env:NOT_SET")


def master_key_wrong(store: LiveStore) -> tuple[int, str]:
    key = keyfs("master-key", "generate", environment={}).out.decode()
    return refused(store, "check", KEYFS_MASTER_KEY="env:OTHER", OTHER=key)


def key_service_unavailable(store: LiveStore) -> tuple[int, str]:
    nobody = "awskms:?region=eu-central-1&endpoint=http://127.0.0.1:1"
    environment = {
        "KEYFS_MASTER_KEY": nobody,
        "ACRA_MASTER_KEY": base64.b64encode(bytes(200)).decode(),
        "AWS_ACCESS_KEY_ID": "AKIATEST",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }
    ran = keyfs("check", environment=store.environment | environment)
    return ran.code, ran.refusal()


def unseal_failed(store: LiveStore) -> tuple[int, str]:
    (store.root / "alice_storage_sym").write_bytes(bytes(76))
    return refused(store, "read", LABEL)


def material_corrupt(store: LiveStore) -> tuple[int, str]:
    with store.opened() as (keys, _):
        assert keys.protection is not None
        blob = keys.protection.seal(Secret(b"k" * 31), keys.layout.label(parse_key_ref(LABEL), ""))
    (store.root / "alice_storage_sym").write_bytes(blob)
    return refused(store, "read", LABEL)


def insecure_permissions(store: LiveStore) -> tuple[int, str]:
    store.root.chmod(0o750)
    return refused(store, "list")


def operation_refused(store: LiveStore) -> tuple[int, str]:
    return refused(store, "destroy", f"{LABEL}/current")


def in_state(state: str) -> Provoke:
    def read_in_state(store: LiveStore) -> tuple[int, str]:
        assert keyfs("state", f"{LABEL}/current", state, environment=store.environment).code == 0
        return refused(store, "read", LABEL)

    return read_in_state


def key_destroyed(store: LiveStore) -> tuple[int, str]:
    store.make(LABEL, b"l" * 32)
    retired = f"{LABEL}/{next(iter(store.versions(LABEL)))}"
    assert keyfs("destroy", retired, environment=store.environment).code == 0
    return refused(store, "read", retired)


def store_busy(store: LiveStore) -> tuple[int, str]:
    with open(store.root.with_name("keys.keyfs") / "lock", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return refused(store, "rotate", LABEL)


def store_unavailable(store: LiveStore) -> tuple[int, str]:
    shutil.rmtree(store.root.with_name("keys.keyfs"))
    store.root.with_name("keys.keyfs").touch()
    return refused(store, "rotate", LABEL)


def store_invalid(store: LiveStore) -> tuple[int, str]:
    return refused(store, "list", "--store", store.master_key)


def layout_unsupported(store: LiveStore) -> tuple[int, str]:
    bundle = store.root.with_name("later.bundle")
    bundle.write_bytes(b"keyfs bundle 2 under a key\n")
    bundle.with_name("later.bundle.key").write_bytes(b"k" * 32)
    return refused(store, "verify", bundle)


def ring_invalid(store: LiveStore) -> tuple[int, str]:
    root = layout_v2(store)
    key = keyfs("master-key", "generate", "--layout", "v2", environment={}).out.decode()
    environment = store.environment | {"KEYFS_STORE": str(root), "KEYFS_MASTER_KEY": "env:V2", "V2": key}
    assert keyfs("generate", LABEL, environment=environment).code == 0
    ring = root / "client/alice/storage-sym.keyring"
    ring.write_bytes(ring.read_bytes()[:-1] + b"?")
    return refused(store, "read", LABEL, KEYFS_STORE=str(root), KEYFS_MASTER_KEY="env:V2", V2=key)


def layout_v2(store: LiveStore) -> Path:
    """A new, empty key store of that layout."""
    root = store.root.with_name("second")
    made = keyfs("init", "--store", root, "--layout", "v2", environment=store.environment)
    assert made.code == 0, made
    return root


def mount_failed(store: LiveStore) -> tuple[int, str]:
    return refused(store, "mount", store.root.with_name("nothing"))


def not_mounted(store: LiveStore) -> tuple[int, str]:
    return refused(store, "umount", store.mountpoint)


def said_by(ran: "subprocess.CompletedProcess[str]") -> tuple[int, str]:
    assert (ran.stdout, ran.stderr.count("\n")) == ("", 1), ran.stderr
    assert ran.stderr.startswith("keyfs: ")
    return ran.returncode, ran.stderr.removeprefix("keyfs: ").rstrip("\n")


def elsewhere(store: LiveStore, prepare: str) -> tuple[int, str]:
    """Runs `keyfs rotate` in a mount namespace, after a shell command there."""
    ran = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", f'{prepare}; exec "$@"', "sh", *ROTATE],
        env=keyfs_environment(store.environment),
        cwd=store.root.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return said_by(ran)


def access_denied(store: LiveStore) -> tuple[int, str]:
    """An ordinary user who owns the store, but not the place of the lock beside it, nor of the states."""
    rotate = f"keyfs rotate --log-level error {LABEL}"
    return said_by(beside_nobody(store.root.parent, f"chown 0:0 keys.keyfs; {rotate}"))


def read_only(store: LiveStore) -> tuple[int, str]:
    return elsewhere(
        store, "mount --bind . /mnt; mount -o remount,bind,ro /mnt; export KEYFS_STORE=/mnt/keys"
    )


def store_full(store: LiveStore) -> tuple[int, str]:
    small = "mount -t tmpfs -o size=64k none /mnt; cp -a keys keys.keyfs /mnt; export KEYFS_STORE=/mnt/keys"
    return elsewhere(store, f"{small}; head -c 1M /dev/zero > /mnt/filler 2> /dev/null || true")


# In the table, but met only behind a mount: `fs.replies` has their answers there.
NEVER_AT_THE_COMMAND_LINE = {errors.RotationConflict, errors.QuotaExceeded, errors.ClientNotEmpty}

PROVOKED: dict[type[errors.KeyfsError], tuple[Provoke, str]] = {
    errors.InvalidSettings: (invalid_settings, "use dir:PATH"),
    errors.InvalidName: (invalid_name, "use one of storage, "),
    errors.ClientIdTooLong: (client_id_too_long, "at most 233 fit"),
    errors.KeyNotFound: (key_not_found, "make it with keyfs generate storage-sym/nobody"),
    errors.KeyExists: (key_exists, f"make its next version with keyfs rotate {LABEL}"),
    errors.InvalidMaterial: (invalid_material, "32 bytes, not 5 bytes: nothing was changed"),
    errors.MasterKeyUnavailable: (master_key_unavailable, "export the key store's master key in it"),
    errors.MasterKeyWrong: (master_key_wrong, "not the one this key store was sealed with"),
    errors.KeyServiceUnavailable: (key_service_unavailable, "127.0.0.1:1"),
    errors.UnsealFailed: (unseal_failed, "it is damaged, or sealed for another key"),
    errors.MaterialCorrupt: (material_corrupt, "a storage-sym key has 32 bytes, this one has 31"),
    errors.AccessDenied: (access_denied, "needs to write in /mnt/keys.keyfs): Permission denied"),
    errors.InsecurePermissions: (insecure_permissions, "chmod 700 "),
    errors.OperationRefused: (operation_refused, "rotate it first"),
    errors.KeyExpired: (in_state("suspended"), f"keyfs state {LABEL}/current active ends that"),
    errors.KeyRevoked: (in_state("compromised"), "use another version"),
    errors.KeyDestroyed: (key_destroyed, "use another version"),
    errors.ReadOnly: (read_only, "Read-only file system"),
    errors.StoreBusy: (store_busy, "retry"),
    errors.StoreFull: (store_full, "No space left on device"),
    errors.StoreUnavailable: (store_unavailable, "keys.keyfs): Not a directory"),
    errors.StoreInvalid: (store_invalid, "is not a directory"),
    errors.RingInvalid: (ring_invalid, "storage-sym.keyring"),
    errors.LayoutUnsupported: (layout_unsupported, "a later keyfs"),
    errors.MountFailed: (mount_failed, "run mkdir -p "),
    errors.NotMounted: (not_mounted, "see keyfs status"),
}
AS_ROOT = {errors.AccessDenied, errors.ReadOnly, errors.StoreFull}


def test_no_row_of_the_table_is_left_out() -> None:
    assert set(PROVOKED) | NEVER_AT_THE_COMMAND_LINE == set(EXIT_CODES)


@pytest.mark.parametrize(
    "cls",
    [pytest.param(c, id=c.__name__, marks=[ROOT_ONLY] if c in AS_ROOT else []) for c in PROVOKED],
)
def test_a_real_command_meets_it(store: LiveStore, cls: type[errors.KeyfsError]) -> None:
    provoke, what_to_do = PROVOKED[cls]
    code, said = provoke(store)
    assert code == EXIT_CODES[cls], said
    assert what_to_do in said
