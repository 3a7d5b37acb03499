"""What a rotation asks of Redis: nothing twice. Each question is a wait for the network."""

from contextlib import closing

from keyfs import app
from keyfs.store.base import Replacement
from keyfs.testing.redis_servers import redis_server

NAME = "alice1_storage_sym"
ARCHIVE = f"{NAME}.old/2026-11-24T02:29:36.711888287"


def test_a_switch_looks_once_and_writes_once() -> None:
    with redis_server() as server, closing(app.open_store(server.uri())) as store, store.lock():
        store.supersede([Replacement(NAME, b"first", 0o600, 0, None)])
        server.ask("CONFIG", "RESETSTAT")
        store.supersede([Replacement(NAME, b"second", 0o600, 0, ARCHIVE)])
        asked = {
            str(name).removeprefix("cmdstat_"): facts["calls"]
            for name, facts in server.admin.info("commandstats").items()
        }
        assert (store.get(NAME).data, store.get(ARCHIVE).data) == (b"second", b"first")
    look = {"watch": 1, "get": 3}  # the lock, the key, its archive: sent together
    write = {"multi": 1, "set": 2, "pexpire": 1, "exec": 1}
    assert {name: asked[name] for name in asked if not name.startswith("config")} == look | write
