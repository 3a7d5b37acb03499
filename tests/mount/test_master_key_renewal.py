"""SIGHUP: a mount fetches its master keys again, and keeps those it has if the new ones are of no use."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from daemon_life import daemon_of, until

from keyfs.testing.mounted import mounted, run_keyfs

LABEL = "storage-sym/alice"


@dataclass(frozen=True)
class Site:
    """A key store, the file its mount has the master key from, and the mount's log."""

    place: Path

    @property
    def key(self) -> Path:
        return self.place / "master.key"

    @property
    def environment(self) -> dict[str, str]:
        return {"KEYFS_STORE": f"dir:{self.place / 'keys'}", "KEYFS_MASTER_KEY": f"file:{self.key}"}

    @property
    def mountpoint(self) -> Path:
        return self.place / "mount"

    def keyfs(self, *words: str, code: int = 0) -> bytes:
        done = run_keyfs(*words, environment=self.environment)
        assert done.returncode == code, done.stderr.decode()
        return done.stdout

    def put_key(self, text: bytes) -> None:
        """As an operator does it: never half a key."""
        new = self.place / "new"
        new.touch(0o600)
        new.write_bytes(text)
        new.rename(self.key)

    def hang_up(self, answer: str, times: int = 1) -> None:
        """Tell the daemon, and wait for the line that it logs about it."""
        os.kill(daemon_of(self.mountpoint), signal.SIGHUP)
        until(lambda: self.log().count(answer) == times)

    def log(self) -> str:
        return (self.place / "log").read_text()

    def reads(self) -> bytes:
        return (self.mountpoint / LABEL / "current").read_bytes()


@pytest.fixture
def site(tmp_path: Path, fuse_required: None) -> Iterator[Site]:
    site = Site(tmp_path)
    site.put_key(site.keyfs("master-key", "generate"))
    site.keyfs("init")
    site.keyfs("generate", LABEL)
    with mounted(
        site.mountpoint, "--log-file", str(tmp_path / "log"), "--log-level", "info",
        environment=site.environment,
    ):  # fmt: skip
        yield site


def another_key(site: Site) -> bytes:
    return site.keyfs("master-key", "generate")


def test_after_a_change_of_the_master_key_a_hangup_brings_the_new_one(site: Site) -> None:
    before, new = site.reads(), another_key(site)
    old = site.place / "old.key"
    old.touch(0o600)
    old.write_bytes(site.key.read_bytes())
    site.put_key(new)
    site.keyfs("rekey", "--from", f"file:{old}", "--to", f"file:{site.key}")
    site.hang_up("master_key.renewed")
    assert site.reads() == before
    (site.mountpoint / LABEL / "rotate").write_bytes(b"\n")
    old.unlink()
    assert site.keyfs("read", LABEL) == site.reads() != before
    site.keyfs("check")


@pytest.mark.parametrize("text", [None, b"", b"bm90IGEga2V5\n"], ids=["absent", "empty", "short"])
def test_no_usable_key_there_leaves_the_one_in_use(site: Site, text: bytes | None) -> None:
    before = site.reads()
    good = site.key.read_bytes()
    site.key.unlink()
    if text is not None:
        site.put_key(text)
    site.hang_up("master_key.kept")
    assert site.reads() == before
    (site.mountpoint / LABEL / "rotate").write_bytes(b"\n")
    site.put_key(good)
    site.hang_up("master_key.renewed")
    assert site.keyfs("read", LABEL) == site.reads()


def test_a_key_that_opens_nothing_leaves_the_one_in_use(site: Site) -> None:
    before, good = site.reads(), site.key.read_bytes()
    site.put_key(another_key(site))
    for times in (1, 2):
        site.hang_up("master_key.kept", times)
        assert site.reads() == before
    (site.mountpoint / LABEL / "rotate").write_bytes(b"\n")
    site.put_key(good)
    assert site.keyfs("read", LABEL) == site.reads()


def test_hangups_one_after_the_other_are_all_obeyed(site: Site) -> None:
    for _ in range(20):
        os.kill(daemon_of(site.mountpoint), signal.SIGHUP)
        site.reads()
    until(lambda: "master_key.renewed" in site.log())
    assert "request." not in site.log()


def test_readers_notice_nothing_of_hangups(site: Site) -> None:
    before = site.reads()
    pid = daemon_of(site.mountpoint)
    for number in range(300):
        if number % 10 == 0:
            os.kill(pid, signal.SIGHUP)
        assert site.reads() == before


# --- a list in the configuration file ---


@pytest.fixture
def configured(tmp_path: Path, fuse_required: None) -> Iterator[Site]:
    """A mount whose master key the configuration file names."""
    site = Site(tmp_path)
    site.put_key(site.keyfs("master-key", "generate"))
    site.keyfs("init")
    site.keyfs("generate", LABEL)
    configure(site, f"file:{site.key}")
    words = ("--config", str(tmp_path / "keyfs.toml"), "--log-file", str(tmp_path / "log"))
    with mounted(site.mountpoint, *words, "--log-level", "info", environment={}):
        yield site


def configure(site: Site, master_key: str) -> None:
    text = f'store = "{site.environment["KEYFS_STORE"]}"\nmaster-key = "{master_key}"\n'
    (site.place / "keyfs.toml").write_text(text)


def test_the_master_key_is_changed_without_stopping_the_mount(configured: Site) -> None:
    site, before = configured, configured.reads()
    old, new = f"file:{site.key}", f"file:{site.place / 'next.key'}"
    path = site.place / "next.key"
    path.touch(0o600)
    path.write_bytes(another_key(site))
    configure(site, f"{new},{old}")
    site.hang_up("master_key.renewed")
    assert f'"master_key": "{new},{old}"' in (site.mountpoint / ".keyfs/status.json").read_text()
    site.keyfs("rekey", "--from", old, "--to", new)
    assert site.reads() == before
    configure(site, new)
    site.hang_up("master_key.renewed", 2)
    assert site.reads() == before
    (site.mountpoint / LABEL / "rotate").write_bytes(b"\n")
    site.keyfs("check", "--master-key", new)
    assert site.keyfs("read", "--master-key", new, LABEL) == site.reads()


@pytest.mark.parametrize("text", ["file:/nowhere/key", "bogus:x", "env:NOT_SET"])
def test_a_list_that_is_of_no_use_leaves_the_keys_in_use(configured: Site, text: str) -> None:
    before = configured.reads()
    configure(configured, text)
    configured.hang_up("master_key.kept")
    assert configured.reads() == before
    (configured.place / "keyfs.toml").write_text("master-key = ")
    configured.hang_up("master_key.kept", 2)
    assert configured.reads() == before
