"""The Redis watch where several servers belong together: all are heard, or it is told that one is not."""

from contextlib import closing

import pytest

from keyfs.store.watching import Changes
from keyfs.testing.redis_groups import redis_cluster, sentinel_group
from keyfs.testing.redis_servers import RedisServer
from keyfs.testing.redis_stores import redis_store
from keyfs.testing.waiting import wait_until
from keyfs.testing.watch_contract import arrived

NOTICED_S = 10.0


def test_every_node_of_a_cluster_is_heard() -> None:
    """If one of them falls silent, the whole is: nobody knows which key it would have told of."""
    names = [f"key-{number}" for number in range(12)]
    with redis_cluster() as cluster, redis_store(cluster.uri()) as store, closing(store.watch()) as watch:
        assert len({cluster.node_of(f"ks/{name}").port for name in names}) == 3
        for name in names:
            cluster.ask("SET", f"ks/{name}", "AAAA")
        assert arrived(watch, *names) == Changes(frozenset(names), lost=False)
        for disturb, mend in ((RedisServer.freeze, RedisServer.thaw), (RedisServer.kill, RedisServer.start)):
            disturb(cluster.nodes[1])
            wait_until(lambda: not watch.is_connected, NOTICED_S)
            mend(cluster.nodes[1])
            cluster.wait_until_whole()
            wait_until(lambda: watch.is_connected, NOTICED_S)
            assert arrived(watch).lost
            for name in names:
                cluster.ask("SET", f"ks/{name}", "AAAA")
            assert arrived(watch, *names).names == set(names)


@pytest.mark.parametrize("end", ["killed", pytest.param("frozen", marks=pytest.mark.soak)])
def test_after_a_fail_over_the_new_primary_is_heard(end: str) -> None:
    with sentinel_group() as group, redis_store(group.uri()) as store, closing(store.watch()) as watch:
        old = group.primary
        old.cli("SET", "ks/key", "AAAA")
        assert "key" in arrived(watch, "key").names
        (old.kill if end == "killed" else old.freeze)()
        wait_until(lambda: not watch.is_connected, NOTICED_S)
        wait_until(lambda: group.primary is not old, 30)
        wait_until(lambda: watch.is_connected, 30)
        assert arrived(watch).lost
        group.primary.cli("SET", "ks/news", "AAAA")
        assert "news" in arrived(watch, "news").names
