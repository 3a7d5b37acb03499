"""`keyfs import` killed again and again; own purposes; a passphrase that is typed."""

import os
import pty
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from bundle_site import Site
from copied_stores import materials, new_directory, own_store

from keyfs.testing.live import new_live_store
from keyfs.testing.mounted import keyfs_environment, run_keyfs

KILLS = 6


def test_an_import_that_is_killed_is_finished_by_the_next(tmp_path: Path) -> None:
    labels = [f"storage/c{number:04}" for number in range(30)]
    site = Site(own_store(tmp_path, *labels, versions=2), tmp_path / "keys.bundle")
    assert site.export().code == 0
    anew = site.at(new_directory(site.place, tmp_path / "anew"))
    for _ in range(KILLS):
        words = [sys.executable, "-m", "keyfs", "import", "--bundle", str(site.bundle)]
        where = keyfs_environment({"KEYFS_STORE": anew.place.uri, **anew.place.environment})
        with subprocess.Popen(words, env=where, stderr=subprocess.DEVNULL) as importing:
            time.sleep(random.uniform(0.3, 0.9))
            importing.send_signal(signal.SIGKILL)
    assert anew.restore().code == 0
    assert materials(anew.place.contents()) == materials(site.place.contents())
    assert anew.place.check().returncode == 0


def test_own_purposes_are_in_the_bundle_declared_or_not(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    config = '[purpose.token]\nkind = "opaque"\ngenerate = 20\n'
    store = new_live_store(tmp_path / "a", config)
    for material in (b"first\n", b"\x00\x00", b"third"):
        store.make("token/www.example.org", material)
    bundle = tmp_path / "keys.bundle"
    undeclared = {name: value for name, value in store.environment.items() if name != "KEYFS_CONFIG"}
    assert run_keyfs("export", "--bundle", str(bundle), environment=undeclared).returncode == 0
    run_keyfs("init", "--store", str(tmp_path / "b"), environment={})
    where = {**store.environment, "KEYFS_STORE": str(tmp_path / "b")}
    for _ in range(2):
        done = run_keyfs("import", "--bundle", str(bundle), environment=where)
        assert done.returncode == 0, done.stderr
    assert done.stderr == b"versions: 3 equal\n"
    listed = [
        run_keyfs("list", "--versions", "--json", environment=env).stdout
        for env in (store.environment, where)
    ]
    assert listed[0] == listed[1]
    read = run_keyfs("read", "token/www.example.org", environment=where)
    assert read.stdout == b"third"


def test_a_passphrase_is_asked_for_twice_and_never_shown(tmp_path: Path) -> None:
    site = Site(own_store(tmp_path, "storage/alice"), tmp_path / "keys.bundle")
    shown = typed(site, ["export", "--bundle", str(site.bundle), "--passphrase-from", "prompt"], 2)
    assert b"horse" not in shown
    assert not site.key.exists()
    shown = typed(site, ["verify", str(site.bundle)], 1)
    assert b"can be restored" in shown
    assert b"horse" not in shown


def typed(site: Site, words: list[str], times: int) -> bytes:
    """What a terminal shows while the passphrase is typed as often as that."""
    pid, terminal = pty.fork()
    if pid == 0:
        where = keyfs_environment({"KEYFS_STORE": site.place.uri, **site.place.environment})
        os.execve(sys.executable, [sys.executable, "-m", "keyfs", *words], where)
    shown = b""
    for count in range(1, times + 1):
        while shown.count(b": ") < count:
            shown += os.read(terminal, 4096)
        os.write(terminal, b"correct horse\n")
    try:
        while piece := os.read(terminal, 4096):
            shown += piece
    except OSError:  # EIO: its end
        pass
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, shown
    return shown
