"""What keyfs's cold reads are measured against: redis-py's GET, a Secure Cell opened, a file on tmpfs read.

Told on standard input (JSON) which keys and how many threads; prints how many seconds it took.
"""

import base64
import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import redis

from keyfs.core.secret import Secret
from keyfs.seal.registry import open_sealer

KEY_BYTES = 32


def main() -> None:
    """Reads all keys."""
    told = json.load(sys.stdin)
    sealer = open_sealer(Secret(base64.b64decode(Path(told["master_key"]).read_text())))
    client = redis.Redis(unix_socket_path=told["socket"])
    path, threads = told["file"], told["threads"]
    failed: list[str] = []

    def read(names: Sequence[str]) -> None:
        for name in names:
            value = client.get(f"ks/{name}_storage_sym")
            key = sealer.unseal(base64.b64decode(value), name.encode())  # type: ignore[arg-type]  # redis-py's own annotation fits no client
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            os.read(descriptor, 4096)
            os.close(descriptor)
            if len(key) != KEY_BYTES:
                failed.append(name)

    workers = [
        threading.Thread(target=read, args=(told["clients"][part::threads],)) for part in range(threads)
    ]
    client.ping()
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    took_s = time.perf_counter() - start
    if failed:
        sys.exit(f"{failed[0]} is no key")
    print(took_s)


if __name__ == "__main__":
    main()
