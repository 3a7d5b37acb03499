"""Names beside a key come and go as programs want; the key itself stays, and is whole at every moment."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from written_ring import NEW, OLD, Ring, key_file, ring_of

from keyfs.core.stamps import is_stamp
from keyfs.testing.live import LiveStore, live_store
from keyfs.testing.watched import watching


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, fuse_required: None) -> Iterator[LiveStore]:
    with live_store(tmp_path_factory.mktemp("names"), "--allow-other") as store:
        yield store


@pytest.fixture
def ring(live: LiveStore, request: pytest.FixtureRequest) -> Ring:
    """A symmetric key of one version."""
    return ring_of(live, request, "storage-sym", OLD)


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return key_file(tmp_path)


# --- one version each ---

REPLACERS = {
    "cp --remove-destination": 'cp --remove-destination "$NEW" current',
    "mv across file systems": 'cp "$NEW" "$NEW.2" && mv "$NEW.2" current',
    "mv within": 'cp "$NEW" x && mv x current',
    "mv -f within": 'cp "$NEW" .current.tmp && mv -f .current.tmp current',
    "mv -b": 'cp "$NEW" x && mv -b x current && rm current~',
    "install": 'install "$NEW" current',
    "install -m 644": 'install -m 644 "$NEW" current',
    "sed -i": 'sed -i "s/.*/$(cat "$NEW")/" current',
    "rename by Python": """"$PYTHON" -c 'if True:
        import os, shutil
        shutil.copy(os.environ["NEW"], "t")
        os.replace("t", "current")'""",
    "rename by Python before the file is closed": """"$PYTHON" -c 'if True:
        import os
        with open("t", "wb") as f:
            f.write(open(os.environ["NEW"], "rb").read())
            os.replace("t", "current")'""",
    "rename by Python in the middle": """"$PYTHON" -c 'if True:
        import os
        new = open(os.environ["NEW"], "rb").read()
        with open("t", "wb", buffering=0) as f:
            os.replace("t", "current")
            f.write(new[:16])
            f.write(new[16:])'""",
    "rm and make": """"$PYTHON" -c 'if True:
        import os
        os.unlink("current")
        assert not os.path.exists("current")
        assert "current" not in os.listdir()
        open("current", "xb").write(open(os.environ["NEW"], "rb").read())
        assert os.path.exists("current")'""",
    "rm in one thread and make in another": """"$PYTHON" -c 'if True:
        import os, threading
        thread = threading.Thread(target=os.unlink, args=("current",))
        thread.start(); thread.join()
        open("current", "xb").write(open(os.environ["NEW"], "rb").read())'""",
    "rename away and make": """"$PYTHON" -c 'if True:
        import os
        os.rename("current", "current~")
        assert not os.path.exists("current")
        open("current", "xb").write(open(os.environ["NEW"], "rb").read())
        os.unlink("current~")'""",
}


@pytest.mark.parametrize("script", REPLACERS.values(), ids=REPLACERS)
def test_a_program_that_replaces_the_file_makes_one_version(ring: Ring, new: Path, script: str) -> None:
    inode = ring.current.stat().st_ino
    ring.run(script, new)
    assert ring.contents() == ring.shown() == [OLD, NEW]
    assert ring.current.stat().st_ino == inode
    assert set(os.listdir(ring.directory)) - {"current", "rotate"} == set(
        filter(is_stamp, os.listdir(ring.directory))
    )


KEEPERS = {
    "rm": "rm current",
    "rm -f twice": "rm -f current; rm -f current",
    "rename away": 'mv current x && [ "$(cat x)" = "$(cat current)" ] && rm x',
    "an empty file over it": ": > x && mv x current",
    "the same bytes over it": "cat current > x && mv x current",
    "cp of itself": 'cp current "$NEW" && cp "$NEW" current',
    "install of itself": 'cp current "$NEW" && install "$NEW" current',
    "touch a scratch file": "touch x && rm x",
}


@pytest.mark.parametrize("script", KEEPERS.values(), ids=KEEPERS)
def test_what_brings_no_new_bytes_makes_no_version(ring: Ring, new: Path, script: str) -> None:
    before = ring.current.stat()
    ring.run(script, new)
    assert ring.contents() == ring.shown() == [OLD]
    after = ring.current.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_nobody_else_misses_a_name_that_a_process_removed(ring: Ring) -> None:
    script = (
        'import os, sys; os.unlink("current"); print(os.path.exists("current"), flush=True); sys.stdin.read()'
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ring.directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as remover:
        assert remover.stdout is not None
        assert remover.stdout.readline() == b"False\n"
        assert ring.current.read_bytes() == OLD
        assert "current" in os.listdir(ring.directory)
        remover.communicate()


def test_an_old_version_renamed_onto_current_is_current_again(ring: Ring) -> None:
    ring.current.write_bytes(NEW)
    stamp = next(name for name in os.listdir(ring.directory) if is_stamp(name))
    ring.run(f"mv {stamp} current")
    assert ring.contents() == ring.shown() == [OLD, NEW, OLD]
    assert (ring.directory / stamp).read_bytes() == OLD


BAD = {
    "too short": "echo k > x && mv x current",
    "too long": "head -c 5000 /dev/zero > x && mv x current",
}


@pytest.mark.parametrize("script", BAD.values(), ids=BAD)
def test_a_file_that_is_no_key_is_not_renamed_onto_one(ring: Ring, script: str) -> None:
    """Not EINVAL: `mv` calls that an attempt to move a directory into itself."""
    ran = ring.shell(script)
    assert (ran.returncode, ran.stderr) == (1, "mv: cannot move 'x' to 'current': Operation not permitted\n")
    assert ring.contents() == ring.shown() == [OLD]
    assert (ring.directory / "x").exists()
    ring.run("rm x")


def test_a_rename_tells_who_watches_the_file(ring: Ring, new: Path) -> None:
    """Nobody wrote to the file that they watch: it is told all the same, and is not taken for deleted."""
    with watching(ring.current, ring.directory) as watcher:
        ring.run('cp "$NEW" x && mv x current', new)
        watcher.wait_for(ring.current)
        assert "MOVED_TO" in watcher.seen(ring.directory)
        assert "DELETE_SELF" not in watcher.seen(ring.current)
        watcher.forget()
        ring.live.make(ring.label)
        watcher.wait_for(ring.current)


def test_a_second_rotation_reaches_a_watcher_after_every_replacer(ring: Ring, new: Path) -> None:
    with watching(ring.current) as watcher:
        for script in REPLACERS.values():
            ring.run(script, new)
        watcher.forget()
        ring.live.make(ring.label)
        watcher.wait_for(ring.current)
