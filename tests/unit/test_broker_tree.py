"""The tree over a key store: what only a caller that is no kernel could ask."""

import pytest

from keyfs.broker.inventory import inventory
from keyfs.broker.tree import Tree
from keyfs.core.names import CURRENT, Half
from keyfs.core.policy import Policy
from keyfs.core.tree import CONTROL_ROOT, Facts, Node, client_node, control_node, key_node, rotate_node
from keyfs.core.views import NO_VIEWS, View, Views
from keyfs.errors import KeyNotFound
from keyfs.testing.builders import (
    EVERY_REF,
    HMAC_SYM,
    NOON_NS,
    STORAGE,
    STORAGE_SYM,
    Keys,
    full_medium,
    in_memory,
)

FILES = [key_node(STORAGE, CURRENT, Half.SECRET), rotate_node(STORAGE), control_node("status")]


@pytest.fixture
def keys() -> Keys:
    return in_memory(full_medium())


@pytest.fixture
def tree(keys: Keys) -> Tree:
    return Tree(keys.keys, {"status": lambda: b"fine"}, is_writable=True, started_ns=NOON_NS)


@pytest.mark.parametrize("node", FILES, ids=str)
def test_a_file_has_no_children(tree: Tree, node: Node) -> None:
    assert list(tree.children(node)) == []
    with pytest.raises(KeyNotFound):
        tree.child(node, CURRENT)


def test_a_control_file_that_there_is_not_has_no_content(tree: Tree) -> None:
    assert tree.control(tree.child(CONTROL_ROOT, "status")) == b"fine"
    with pytest.raises(KeyNotFound):
        tree.control(control_node("nothing"))


def test_the_inventory_has_a_row_for_each_half_of_each_version(keys: Keys) -> None:
    for ref in EVERY_REF:
        keys.writer.rotate(ref)
    halves = sum(2 if ref.purpose.is_pair else 1 for ref in EVERY_REF)
    assert len(inventory(keys.keys, with_history=True)) == 2 * halves
    current = inventory(keys.keys, with_history=False)
    assert len(current) == halves
    assert all(row.current for row in current)


def test_the_inventory_goes_by_purpose_client_and_age(keys: Keys) -> None:
    keys.writer.rotate(STORAGE)
    rows = inventory(keys.keys, with_history=True)
    assert [row.purpose for row in rows[:4]] == ["storage"] * 4
    assert [row.current for row in rows[:4]] == [False, False, True, True]
    assert [row.public for row in rows[:4]] == [False, True, False, True]
    assert rows[-1].purpose == "audit-log"


@pytest.mark.parametrize("is_writable", [False, True])
@pytest.mark.parametrize("views", [NO_VIEWS, frozenset(View)])
def test_a_row_tells_of_a_lone_key_what_its_ring_tells(keys: Keys, is_writable: bool, views: Views) -> None:
    """Of symmetric keys and pairs, with and without a public half, before and after a rotation."""
    keys.writer.rotate(HMAC_SYM)
    policy = Policy(views=views)
    tree = Tree(keys.keys, {}, is_writable=is_writable, started_ns=NOON_NS, policy=policy)
    lone = keys.keys.index.lone
    assert lone(STORAGE_SYM) is not None
    assert lone(STORAGE) is None
    assert lone(HMAC_SYM) is None

    def seen() -> list[tuple[Node, Facts]]:
        nodes = [client_node(ref) for ref in EVERY_REF]
        below = [child for node in nodes for child in tree.children(node)]
        return [(node, tree.facts(node)) for node in nodes + below]

    by_rows = seen()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys.keys.index, "lone", lambda _: None)
        assert seen() == by_rows
