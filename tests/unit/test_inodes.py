"""Inode numbers: stable, counted, and never shared, not even when two paths have one hash."""

import hashlib
from dataclasses import dataclass

import pyfuse3
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from keyfs.core.names import Half, KeyRef
from keyfs.core.purposes import STORAGE
from keyfs.core.tree import ROOT, Node, client_node, control_node, key_node, purpose_node
from keyfs.errors import KeyNotFound
from keyfs.fs.inodes import Inodes

ALICE = KeyRef(STORAGE, "alice")
NODES = [
    purpose_node(STORAGE),
    client_node(ALICE),
    key_node(ALICE, "current", Half.SECRET),
    key_node(ALICE, "current", Half.PUBLIC),
    control_node("status"),
]


@dataclass(frozen=True)
class PoorHash:
    """A `hashlib` digest with very few values."""

    text: bytes

    def digest(self) -> bytes:
        return (len(self.text) % 2).to_bytes(8, "big")


class Kernel(RuleBasedStateMachine):
    """Looks up and forgets; all numbers collide."""

    @initialize()
    def mount(self) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(hashlib, "blake2b", lambda text, **_: PoorHash(text))
        self.inodes = Inodes()
        self.held: dict[Node, int] = {}

    @rule(node=st.sampled_from(NODES))
    def look_up(self, node: Node) -> None:
        assert self.inodes.number(node) == self.inodes.refer(node)
        self.held[node] = self.held.get(node, 0) + 1

    @rule(node=st.sampled_from(NODES), count=st.integers(1, 3))
    def forget(self, node: Node, count: int) -> None:
        if self.held.get(node, 0) >= count:
            self.inodes.forget([(self.inodes.number(node), count)])
            self.held[node] -= count
            if not self.held[node]:
                del self.held[node]

    @invariant()
    def each_node_held_is_found_by_its_own_number(self) -> None:
        numbers = {node: self.inodes.number(node) for node in self.held}
        assert len(set(numbers.values())) == len(numbers)
        assert pyfuse3.ROOT_INODE not in numbers.values()
        assert all(self.inodes.node(number) == node for node, number in numbers.items())
        assert len(self.inodes) == len(self.held) + 1

    def teardown(self) -> None:
        if hasattr(self, "patch"):
            self.patch.undo()


TestInodesWhoseHashesCollide = Kernel.TestCase


def test_numbers_are_those_of_every_mount() -> None:
    """They go into other programs' memory: a change of the rule would change them all."""
    assert [Inodes().number(node) for node in NODES[:2]] == [
        int.from_bytes(hashlib.blake2b(text, digest_size=8, person=b"keyfs inode 1").digest(), "big") >> 1 | 2
        for text in (b"storage", b"storage/alice")
    ]


def test_the_root_is_not_counted() -> None:
    inodes = Inodes()
    assert inodes.refer(ROOT) == pyfuse3.ROOT_INODE
    inodes.forget([(pyfuse3.ROOT_INODE, 1)])
    assert inodes.node(pyfuse3.ROOT_INODE) == ROOT


def test_asking_for_a_number_holds_nothing() -> None:
    inodes = Inodes()
    number = inodes.number(NODES[0])
    with pytest.raises(KeyNotFound, match="unknown inode"):
        inodes.node(number)
