"""Counts the calls to a KMS that reads mean, when each client's keys are sealed there (kms_per_client).

Ten keys are read in turn through a mount, each read an open, read and close. The KMS is moto on this machine,
behind a proxy that counts; a master key that a KMS unwrapped stands beside it. A count is not a time: it is
the same on any machine.
"""

import argparse
import json
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from benchmarking.programs import TMPFS, on_terminate

from keyfs import app
from keyfs.core.names import parse_key_ref
from keyfs.core.secret import Secret
from keyfs.master.registry import open_key
from keyfs.testing.kms_proxy import KMSProxy, kms_proxy
from keyfs.testing.kms_servers import moto_server
from keyfs.testing.kms_uris import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from keyfs.testing.mounted import mounted

CLIENTS = 10
AWS = {
    "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
    "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
SETTINGS = {
    "one call a read (cache_uses=1)": {"cache_uses": "1"},
    "cache_uses=100": {"cache_uses": "100"},
    "as it is by default": {},
}


@contextmanager
def filled_store(place: Path, master_key: str) -> Iterator[str]:
    """The URI of a key store with one key of each client."""
    uri = f"dir:{place}"
    app.init_store(uri, "v1")
    keys, writer = app.open_keys(app.Access(uri, master_key))
    with closing(keys):
        keys.load()
        for number in range(CLIENTS):
            writer.generate(parse_key_ref(f"storage-sym/client{number}"))
    yield uri


def measure(
    store: str, master_key: str, reads: int, proxy: KMSProxy, place: Path, **more: str
) -> dict[str, Any]:
    """Calls from the moment when the mount is ready, and those that the mount itself took."""
    before = proxy.calls.total()
    settings = {"KEYFS_STORE": store, "KEYFS_MASTER_KEY": master_key, **AWS, **more}
    with mounted(place, environment=settings) as mount:
        ready = proxy.calls.total()
        files = [mount / f"storage-sym/client{number}/current" for number in range(CLIENTS)]
        for number in range(reads):
            files[number % CLIENTS].read_bytes()
        calls = proxy.calls.total() - ready
    return {"calls at the start": ready - before, "calls per 1,000 reads": 1000 * calls / reads}


def run(reads: int) -> dict[str, dict[str, Any]]:
    """The figures of every setting."""
    os.environ.update(AWS)
    with tempfile.TemporaryDirectory(prefix="keyfs-bench-", dir=TMPFS) as folder:
        place = Path(folder)
        with moto_server(place / "moto") as kms, kms_proxy(kms.port) as proxy:
            with filled_store(place / "each", proxy.per_client(create="yes")) as store:
                found = {
                    f"a key for each client, {name}": measure(
                        store, proxy.per_client(**options), reads, proxy, place / "mount"
                    )
                    for name, options in SETTINGS.items()
                }
            kms.make("alias/acra_master_key")
            wrapped = open_key(proxy.uri()).wrap(Secret(os.urandom(32))).decode()
            os.environ["ACRA_MASTER_KEY"] = wrapped
            with filled_store(place / "one", proxy.uri()) as store:
                found["one master key that the KMS unwraps"] = measure(
                    store, proxy.uri(), reads, proxy, place / "mount", ACRA_MASTER_KEY=wrapped
                )
    return found


def table(found: dict[str, dict[str, Any]]) -> str:
    """A line for each setting."""
    names = list(next(iter(found.values())))
    lines = [f"{'':<56}" + "".join(f"{name:>24}" for name in names)]
    lines += [f"{kind:<56}" + "".join(f"{row[name]:>24g}" for name in names) for kind, row in found.items()]
    return "\n".join(lines)


def main() -> None:
    """Measures, writes the figures and prints them."""
    signal.signal(signal.SIGTERM, on_terminate)
    parser = argparse.ArgumentParser(prog="bench kms", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few reads: shows that it runs, no more")
    parser.add_argument("--reads", type=int, default=20_000)
    parser.add_argument("--output", type=Path, default=Path("bench-kms.json"))
    given = parser.parse_args()
    if given.reads < 1:
        parser.error("--reads must be at least 1")
    found = run(100 if given.quick else given.reads)
    given.output.write_text(json.dumps(found, indent=2) + "\n")
    print(table(found), end="\n\n")
    print(f"all figures: {given.output}")


if __name__ == "__main__":
    main()
