"""Measures what programs notice of a daemon that is killed (SIGKILL) 20 times, under 4 readers and a rotator.

Once with --supervised; and once without, where the same program that kills the daemon mounts anew at once,
as a service manager would. Everything is in memory (tmpfs).
"""

import argparse
import json
import os
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench_rekey import table
from benchmarking.programs import TMPFS, BenchError, on_terminate
from benchmarking.report import machine

from keyfs.testing.live import new_live_store
from keyfs.testing.mounted import run_keyfs
from keyfs.testing.supervised import Site, Traffic, supervised, traffic

KEY = "storage-sym/alice"
APART_S = 0.5  # between one kill and the next, from when the mount answers again


def with_supervisor(place: Path, kills: int) -> tuple[Traffic, int]:
    """What was met, and how many versions there are."""
    with supervised(place) as site:
        key = site.store.make(KEY)
        met = under_traffic(key, kills, site.kill_worker)
        return met, len(site.store.versions(KEY))


def without(place: Path, kills: int) -> tuple[Traffic, int]:
    """The same where there is no supervisor."""
    store = new_live_store(place)
    site = Site(store, store.environment)
    mount(site)
    key = store.make(KEY)

    def kill() -> None:
        daemon = int(str(site.status()["pid"]))
        pidfd = os.pidfd_open(daemon)
        os.kill(daemon, signal.SIGKILL)
        select.select([pidfd], [], [])
        os.close(pidfd)
        mount(site)

    try:
        return under_traffic(key, kills, kill), len(store.versions(KEY))
    finally:
        run_keyfs("umount", "--lazy", site.mountpoint, environment={})


def mount(site: Site) -> None:
    """Mounts, in the place of a dead mount if there is one.

    Raises:
        BenchError: that failed.
    """
    log = ("--log-file", str(site.store.log))
    done = run_keyfs("mount", *log, site.mountpoint, environment=site.environment)
    if done.returncode:
        raise BenchError(done.stderr.decode())


def under_traffic(key: Path, kills: int, kill: Callable[[], None]) -> Traffic:
    """Kills again and again while programs use the key."""
    with traffic(key) as met:
        for _ in range(kills):
            time.sleep(APART_S)
            kill()
        time.sleep(APART_S)
    return met


def figures(met: Traffic, versions: int, kills: int) -> dict[str, Any]:
    """What is told of one kind of mount."""
    return {
        "killed": kills,
        "opens": met.opens,
        "failed": len(met.failures),
        "outage, worst, ms": round(1000 * met.worst_outage_s),
        "outage, all, ms": round(1000 * met.outages_s),
        "rotations": met.rotated,
        "versions lost": max(met.rotated + 1 - versions, 0),
    }


def main() -> None:
    """Measures, writes the figures and prints them."""
    signal.signal(signal.SIGTERM, on_terminate)
    parser = argparse.ArgumentParser(prog="bench supervised", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a little of each: shows that it runs, no more")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--output", type=Path, default=Path("bench-supervised.json"))
    given = parser.parse_args()
    kills = 2 if given.quick else given.kills
    found = {}
    try:
        for name, way in (("supervised", with_supervisor), ("plain", without)):
            with tempfile.TemporaryDirectory(prefix="keyfs-bench-", dir=TMPFS) as place:
                found[name] = figures(*way(Path(place), kills), kills)
    except BenchError as exc:
        sys.exit(f"bench: {exc}")
    given.output.write_text(json.dumps({"machine": machine(), "mounts": found}, indent=2) + "\n")
    print(table(found), end="\n\n")
    print(f"all figures: {given.output}")


if __name__ == "__main__":
    main()
