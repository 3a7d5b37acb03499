"""The tree over a key store: what only a caller that is no kernel could ask."""

import pytest

from keyfs.broker.inventory import inventory
from keyfs.broker.tree import Tree
from keyfs.core.names import CURRENT, Half
from keyfs.core.tree import CONTROL_ROOT, Node, control_node, key_node, rotate_node
from keyfs.errors import KeyNotFound
from keyfs.testing.builders import EVERY_REF, NOON_NS, STORAGE, Keys, full_medium, in_memory

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
