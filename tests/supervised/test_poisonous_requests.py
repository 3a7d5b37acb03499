"""A request that kills whoever takes it is refused in the end; nobody else notices.

The crash is real: Python's own hook for site customisation puts an abort() into a handler of each worker.
"""

import errno
import os
import threading
from pathlib import Path

import pytest

from keyfs.testing.supervised import Site, supervised, traffic

pytestmark = pytest.mark.usefixtures("fuse_required")
KEY = "storage-sym/alice"
POISON = """
import os, signal, sys
if "keyfs.cli.worker" in sys.orig_argv:
    from keyfs.fs.attribute_handlers import AttributeHandlers
    handler = AttributeHandlers.getxattr
    async def getxattr(self, inode, name, ctx):
        if name == b"user.abort":
            os.abort()
        if name == b"user.kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return await handler(self, inode, name, ctx)
    AttributeHandlers.getxattr = getxattr
"""


def poisoned(tmp_path: Path) -> dict[str, str]:
    """An environment in which workers die of two attributes."""
    place = tmp_path / "site"
    place.mkdir()
    (place / "sitecustomize.py").write_text(POISON)
    return {"PYTHONPATH": str(place)}


def answer(path: Path, name: str) -> str:
    try:
        os.getxattr(path, name)
    except OSError as exc:
        return errno.errorcode[exc.errno or 0]
    return ""


def restarts(site: Site) -> int:
    return int(str(site.status()["restarts"]))


def test_it_is_answered_eio_by_the_third_worker(tmp_path: Path) -> None:
    with supervised(tmp_path, environment=poisoned(tmp_path)) as site:
        key = site.store.make(KEY)
        with traffic(key) as met:
            assert answer(key / "current", "user.abort") == "EIO"
            assert restarts(site) == 2
            assert answer(key / "current", "user.abort") == "EIO"
            assert restarts(site) == 2, "it is known by now"
            assert answer(key / "current", "user.keyfs.state") == ""
        assert met.failures == []


def test_one_that_only_seems_to_be_killed_from_outside_has_four_times_as_many_chances(tmp_path: Path) -> None:
    with supervised(tmp_path, environment=poisoned(tmp_path)) as site:
        key = site.store.make(KEY)
        with traffic(key, rotators=0) as met:
            assert answer(key / "current", "user.kill") == "EIO"
            assert restarts(site) == 8
        assert met.failures == []


def test_two_poisonous_requests_at_once(tmp_path: Path) -> None:
    """Suspects go one at a time, so that each death is put down to one of them."""
    with supervised(tmp_path, environment=poisoned(tmp_path)) as site:
        key = site.store.make(KEY)
        answers: list[str] = []
        threads = [
            threading.Thread(target=lambda path=path: answers.append(answer(path, "user.abort")))
            for path in (key / "current", key / "rotate")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert answers == ["EIO", "EIO"]
        assert restarts(site) <= 4
