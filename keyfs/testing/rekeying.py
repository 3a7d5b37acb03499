"""Processes that change the master key of a key store, and are killed; and one that rotates meanwhile.

    python -m keyfs.testing.rekeying rekey STORE OLD,NEW KILLS SEED LOCK-LIFE
    python -m keyfs.testing.rekeying rotate STORE NEW,OLD LOG SEED LOCK-LIFE KEY…

OLD and NEW are URIs. The first begins the work anew after each death, and says at its end how long it worked.
The second logs a line for each version that was acknowledged to it: the key, and the SHA-256 of its private
part. LOCK-LIFE is how long, in milliseconds, the lock of a dead writer lasts in Redis; 0 for as long as ever.
"""

import hashlib
import os
import random
import signal
import sys
import time
from contextlib import closing, suppress
from typing import Final

from keyfs import app
from keyfs.broker.rekey import RekeyReport, rekey
from keyfs.core.names import parse_key_ref
from keyfs.core.purposes import SYMMETRIC_SIZE
from keyfs.errors import StoreBusy
from keyfs.seal.keypair import generate_pair

PAUSE_S: Final = 0.01  # between rotations; as fast as it can be, a few keys would have thousands of versions
DELAY_S: Final = 0.004  # a death comes up to so long after the progress that was waited for


def rekey_and_die(uri: str, master_keys: str, kills: str, seed: str) -> None:
    """Change the master key; die so many times on the way, each time further on, the last time not at all."""
    pick = random.Random(int(seed))  # noqa: S311 - a seeded order, not a secret
    began = time.monotonic()
    for number in range(int(kills)):
        share = (number + pick.random()) / (int(kills) + 1)
        _kill_at(share, pick.uniform(0, DELAY_S), uri, master_keys)
    print(f"{time.monotonic() - began:.3f}", flush=True)  # noqa: T201 - its answer


def _kill_at(share: float, delay_s: float, uri: str, master_keys: str) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _work(writer, uri, master_keys)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        for line in pipe:
            done, total = map(int, line.split())
            if done >= share * total:
                break
        time.sleep(delay_s)
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == -signal.SIGKILL, f"it ended with {status} before it was killed"  # noqa: S101 - test kit


def _work(pipe: int, uri: str, master_keys: str) -> None:
    """Never returns."""
    try:
        keys, _ = app.open_keys(app.Access(uri, master_keys, legacy=True))
        keys.load()
        assert keys.protection is not None  # noqa: S101 - as above
        new = keys.protection.members[0]
        rekey(keys, new, RekeyReport(), lambda done, total: void(os.write(pipe, b"%d %d\n" % (done, total))))
        signal.pause()  # it was faster than whoever kills it
    finally:
        os._exit(1)


def rotate_for_ever(uri: str, master_keys: str, log: str, seed: str, *labels: str) -> None:
    """Make new versions of the keys in random order, until killed. A store that is busy is tried again."""
    refs = [parse_key_ref(label) for label in labels]
    pick = random.Random(int(seed))  # noqa: S311 - as above
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    keys, writer = app.open_keys(app.Access(uri, master_keys))
    with closing(keys):
        keys.load()
        print("ready", flush=True)  # noqa: T201 - as above
        while True:
            ref = pick.choice(refs)
            private = generate_pair()[0].reveal() if ref.purpose.is_pair else os.urandom(SYMMETRIC_SIZE)
            with suppress(StoreBusy):
                writer.import_material(ref, private)
                os.write(fd, f"{ref} {hashlib.sha256(private).hexdigest()}\n".encode())
            time.sleep(PAUSE_S)


def void(_result: object) -> None:
    """For a function that has to return nothing."""


def _let_locks_end_after(life_ms: int) -> None:
    if life_ms:
        from keyfs.store import redis_foreign_lock, redis_lock  # noqa: PLC0415 - a directory needs no Redis

        redis_lock.LIFE_MS = life_ms  # type: ignore[misc]  # a constant for everyone else
        redis_foreign_lock.LIFE_MS = life_ms  # type: ignore[misc]  # as above
        redis_foreign_lock.SPARE_S = life_ms / 10_000  # type: ignore[misc]  # as above


def main(what: str, uri: str, master_keys: str, *rest: str) -> None:
    """See the module."""
    if what == "rekey":
        kills, seed, life = rest
        _let_locks_end_after(int(life))
        rekey_and_die(uri, master_keys, kills, seed)
        return
    log, seed, life, *labels = rest
    _let_locks_end_after(int(life))
    rotate_for_ever(uri, master_keys, log, seed, *labels)


if __name__ == "__main__":
    main(*sys.argv[1:])
