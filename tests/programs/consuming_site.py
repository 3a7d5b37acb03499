"""A mount with purposes of its own, as programs that use keys need it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from keyfs.testing.live import LiveStore, live_store
from keyfs.testing.mounted import run_keyfs

CONFIGURATION: Final = """
[purpose.tls]
kind = "pem"

[purpose.ssh]
kind = "opaque"
preset = "ssh"

[purpose.java]
kind = "opaque"
preset = "java"

[purpose.gnupg]
kind = "opaque"

[[rule]]
purpose = "tls"
client = "web"
preset = "nginx"

[[rule]]
purpose = "tls"
client = "db"
preset = "postgres"

[[rule]]
purpose = "tls"
client = "db-group"
owner = "root"
group = "postgres"
mode = "0640"
"""


@dataclass(frozen=True, slots=True)
class Site:
    """The mount, and the configuration that declares its purposes."""

    live: LiveStore
    configuration: Path

    def keyfs(self, *words: str | Path, stdin: bytes = b"") -> str:
        """Run a command with that configuration; it must succeed."""
        environment = {**self.live.environment, "KEYFS_CONFIG": str(self.configuration)}
        done = run_keyfs(*words, environment=environment, stdin=stdin)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def make(self, label: str, material: bytes) -> Path:
        """The first version of a key; returns where it is in the mount."""
        self.keyfs("generate", label, "--from-file", "-", stdin=material)
        return self.live.mountpoint / label / "current"


@contextmanager
def site(place: Path) -> Iterator[Site]:
    """A new key store below *place*, mounted for all users."""
    configuration = place / "keyfs.toml"
    configuration.write_text(CONFIGURATION)
    with live_store(place, "--allow-other", "--config", str(configuration)) as live:
        yield Site(live, configuration)
    assert not live.logged(" warning "), live.logged(" warning ")
