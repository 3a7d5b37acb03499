"""Several Redis servers that belong together: a primary with a replica under Sentinels, and a cluster."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from redis.exceptions import MovedError, RedisError

from keyfs.testing.redis_servers import RedisServer, free_port, redis_cli, require_redis, short_folder
from keyfs.testing.waiting import wait_until

SERVICE: Final = "keys"
DOWN_AFTER_MS: Final = 1500  # on a busy machine a living server may be silent for a while
NODE_TIMEOUT_MS: Final = 1500
FORM_S: Final = 40.0
_SENTINEL: Final = f"""
sentinel monitor {SERVICE} 127.0.0.1 {{port}} 2
sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}
sentinel failover-timeout {SERVICE} 5000
"""


@dataclass(frozen=True, slots=True)
class SentinelGroup:
    """Two data servers, three Sentinels."""

    servers: list[RedisServer]
    sentinels: list[RedisServer]

    def uri(self, prefix: str = "ks", **parameters: str) -> str:
        """The store, wherever its primary is."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        query = "&".join(f"{name}={value}" for name, value in {"prefix": prefix, **parameters}.items())
        return f"redis+sentinel://{hosts}/{SERVICE}?{query}"

    @property
    def primary(self) -> RedisServer:
        """The server that is the primary in the Sentinels' eyes."""
        _, port = self.sentinels[0].ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return next(server for server in self.servers if server.port == int(port))

    def wait_until_whole(self) -> None:
        """Until the replica acknowledges writes, and each Sentinel knows the replica and the two others."""
        wait_until(lambda: all(map(_knows_all, self.sentinels)), FORM_S)
        wait_until(lambda: _has_replica(self.primary), FORM_S)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Nodes that share the slots, without replicas."""

    nodes: list[RedisServer]

    def uri(self, prefix: str = "ks", **parameters: str) -> str:
        """The store, all over the cluster."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        query = "&".join(f"{name}={value}" for name, value in {"prefix": prefix, **parameters}.items())
        return f"redis+cluster://{hosts}?{query}"

    def wait_until_whole(self) -> None:
        """Until every node says that all slots are served."""
        wait_until(lambda: all(map(_is_whole, self.nodes)), FORM_S)

    def node_of(self, key: str) -> RedisServer:
        """The node that has a key's slot."""
        return next(node for node in self.nodes if _has_slot(node, key))

    def ask(self, command: str, key: str, *words: str | bytes) -> object:
        """What the key's node answers."""
        answer: object = self.node_of(key).ask(command, key, *words)
        return answer


@contextmanager
def sentinel_group() -> Iterator[SentinelGroup]:
    """A running group, complete."""
    require_redis()
    with short_folder() as place, ExitStack() as stack:
        primary = _start(stack, place / "0")
        replica = _start(stack, place / "1", "--replicaof", f"127.0.0.1 {primary.port}")
        wait_until(lambda: _has_replica(primary), FORM_S)  # Sentinels look for one only every ten seconds
        config = place / "sentinel.conf"
        config.write_text(_SENTINEL.format(port=primary.port))
        sentinels = []
        for number in ("2", "3", "4"):
            own = shutil.copy(config, place / f"{number}.conf")  # a Sentinel writes into its file
            sentinels.append(_start(stack, place / number, str(own), "--sentinel"))
        group = SentinelGroup([primary, replica], sentinels)
        group.wait_until_whole()
        yield group


@contextmanager
def redis_cluster(*words: str) -> Iterator[Cluster]:
    """A running cluster of three nodes, complete; *words* are options for each of them."""
    require_redis()
    with short_folder() as place, ExitStack() as stack:
        nodes, addresses = [], []
        for number in ("0", "1", "2"):
            bus = free_port()  # the default lies 10,000 above the port, which there may not be
            options = f"--cluster-enabled yes --cluster-node-timeout {NODE_TIMEOUT_MS} --cluster-port {bus}"
            node = _start(stack, place / number, *options.split(), *words)
            nodes.append(node)
            addresses.append(f"127.0.0.1:{node.port}@{bus}")
        redis_cli("--cluster", "create", *addresses, "--cluster-replicas", "0", "--cluster-yes")
        cluster = Cluster(nodes)
        cluster.wait_until_whole()
        yield cluster


def wait_for_replica(primary: RedisServer) -> None:
    """Until a replica acknowledges what is written: some time after it has all there was."""
    wait_until(lambda: _has_replica(primary), FORM_S)


def _has_replica(primary: RedisServer) -> bool:
    """The first acknowledgement may be of what a replica was given when it came, so it has to be two."""
    try:
        return all(primary.ask("SET", "probe", "") and primary.ask("WAIT", 1, 1000) for _ in range(2))
    except RedisError:
        return False  # Sentinel cuts all connections when it makes a replica the primary


def _start(stack: ExitStack, folder: Path, *words: str) -> RedisServer:
    server = RedisServer(folder, words)
    stack.callback(server.close)
    server.start()
    return server


def _knows_all(sentinel: RedisServer) -> bool:
    state = sentinel.admin.sentinel_master(SERVICE)
    return (state["num-slaves"], state["num-other-sentinels"]) == (1, 2)


def _is_whole(node: RedisServer) -> bool:
    return bool(node.admin.cluster("INFO")["cluster_state"] == "ok")


def _has_slot(node: RedisServer, key: str) -> bool:
    try:
        node.ask("EXISTS", key)
    except MovedError:
        return False
    return True
