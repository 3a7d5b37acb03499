"""Key stores for commands and mounts that get their keys from a KMS."""

import hashlib
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from command_line import run_here

from keyfs import app
from keyfs.core.names import parse_key_ref
from keyfs.testing.kms_proxy import KMSProxy
from keyfs.testing.kms_uris import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from keyfs.testing.mounted import mounted, run_keyfs
from keyfs.testing.reading import reading_loop

LABELS = (
    "storage/alice",
    "storage-sym/alice",
    "hmac-sym/alice",
    "storage-sym/bob-1",
    "audit-log",
    "poison-record",
)


@dataclass(frozen=True)
class AwsSite:
    """A key store, and the environment of who opens it with the help of a KMS."""

    place: Path
    master_key: str
    more: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.place / "keys"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "KEYFS_STORE": f"dir:{self.root}",
            "KEYFS_MASTER_KEY": self.master_key,
            "HOME": str(self.place),
            "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
            "AWS_EC2_METADATA_DISABLED": "true",
            **self.more,
        }

    def keyfs(self, *words: str | Path, code: int = 0) -> bytes:
        """What a command prints."""
        done = self.run(*words)
        assert done.returncode == code, done.stderr.decode()
        return done.stdout

    def run(self, *words: str | Path) -> "subprocess.CompletedProcess[bytes]":
        """Run a command. A mount leaves its process, so that it needs one of its own."""
        run = run_keyfs if words[0] == "mount" else run_here
        return run(*words, environment=self.environment)

    def refusal(self, *words: str | Path, code: int) -> str:
        """The one line with which a command is refused."""
        done = self.run(*words)
        assert done.returncode == code, done.stderr.decode()
        assert (done.stdout, done.stderr.count(b"\n")) == (b"", 1), done.stderr
        return done.stderr.decode()

    def fill(self, *labels: str) -> None:
        """A new key store with two versions of each key."""
        self.keyfs("init")
        keys, writer = app.open_keys(app.Access(f"dir:{self.root}", self.master_key))
        with closing(keys):
            keys.load()
            for ref in map(parse_key_ref, labels or LABELS):
                writer.generate(ref)
                writer.rotate(ref)


def digests(mountpoint: Path) -> set[str]:
    """Of every key there is to read. No key is kept: no test shows one."""
    files = [path for path in mountpoint.glob("*/*/*") if path.name != "rotate"]
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def read_without_a_kms(proxy: KMSProxy, site: AwsSite, goes: Callable[[], None], for_s: float) -> int:
    """Read all that a mount shows while the KMS goes away; how often it was asked from then on."""
    with mounted(site.place / "mount", environment=site.environment) as mount:
        files = [path for path in mount.glob("*/*/*") if path.name != "rotate"]
        contents = {path: {path.read_bytes()} for path in files}
        asked = proxy.calls["Decrypt"]
        with reading_loop(contents) as readings:
            goes()
            time.sleep(for_s)
        assert not readings.errors
        assert readings.wrong == 0
        assert readings.reads > len(files)
        return proxy.calls["Decrypt"] - asked
