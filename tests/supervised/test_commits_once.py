"""A worker that dies while it commits: the next one is sent the same request, and there is one version.

The deaths are real: Python's own hook for site customisation puts one before or after each commit, as long
as a file says so.
"""

import os
from collections.abc import Iterator

import pytest

from keyfs.testing.supervised import Site, supervised

pytestmark = pytest.mark.usefixtures("fuse_required")
KEY = "storage-sym/alice"
NEW = b"n" * 32
DEATHS = """
import os, signal, sys
from pathlib import Path
SIGN = Path({sign!r})
def die(when):
    if SIGN.exists() and SIGN.read_text().startswith(when):
        SIGN.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
if "keyfs.cli.worker" in sys.orig_argv:
    from keyfs.broker.changes import Changes
    def deadly(name):
        call = getattr(Changes, name)
        def called(self, ref, *args):
            die("before")
            result = call(self, ref, *args)
            if SIGN.exists() and SIGN.read_text() == "after, and others rotate":
                self._writer.rotate(ref)
            die("after")
            return result
        setattr(Changes, name, called)
    deadly("_import")
    deadly("_rotate_once")
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, fuse_required: None) -> Iterator[Site]:
    place = tmp_path_factory.mktemp("site")
    (place / "python").mkdir()
    (place / "python" / "sitecustomize.py").write_text(DEATHS.format(sign=str(place / "sign")))
    with supervised(place, environment={"PYTHONPATH": str(place / "python")}) as made:
        made.store.make(KEY)
        yield made


WHEN = {"before": 1, "after": 1, "after, and others rotate": 2}


def commit(site: Site, when: str, flags: int, file: str, data: bytes) -> int:
    """How many versions one write makes whose worker dies."""
    before = len(site.store.versions(KEY))
    sign = site.store.root.parent / "sign"
    opened = os.open(site.mountpoint / KEY / file, os.O_WRONLY | flags)
    os.write(opened, data)
    sign.write_text(when)
    os.close(opened)
    assert not sign.exists(), "it did not die"
    return len(site.store.versions(KEY)) - before


@pytest.mark.parametrize(("when", "made"), WHEN.items(), ids=WHEN)
def test_a_rotation(site: Site, when: str, made: int) -> None:
    assert commit(site, when, 0, "rotate", b"x") == made


@pytest.mark.parametrize(("when", "made"), WHEN.items(), ids=WHEN)
@pytest.mark.parametrize("flags", [os.O_TRUNC, 0], ids=["written anew", "edited"])
def test_a_write(site: Site, when: str, made: int, flags: int) -> None:
    data = os.urandom(32)
    assert commit(site, when, flags, "current", data) == made
    versions = site.store.versions(KEY)
    assert list(versions.values()).count(data) == 1
    if made == 1:
        assert versions["current"] == data


def test_a_value_of_long_ago_is_a_new_version_after_a_death_before_the_commit(site: Site) -> None:
    """A roll-back: that the bytes are in the history says nothing of this write."""
    old = site.store.versions(KEY)["current"]
    (site.mountpoint / KEY / "rotate").write_bytes(b"x")
    assert commit(site, "before", os.O_TRUNC, "current", old) == 1
    assert site.store.versions(KEY)["current"] == old
