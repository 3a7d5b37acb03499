"""Nodes: what they are called, what is above them, and back from a name."""

import pytest

from keyfs.core.names import Half, KeyRef
from keyfs.core.purposes import AUDIT_LOG, STORAGE
from keyfs.core.tree import (
    CONTROL_ROOT,
    ROOT,
    Kind,
    Node,
    client_node,
    control_node,
    key_label,
    key_node,
    parent_of,
    parse_key_label,
    purpose_node,
    rotate_node,
)

ALICE = KeyRef(STORAGE, "alice")
LOG = KeyRef(AUDIT_LOG, None)
STAMP = "2026-11-24T02:46:25.574915812"

PATHS = [
    (ROOT, ""),
    (CONTROL_ROOT, ".keyfs"),
    (control_node("status"), ".keyfs/status"),
    (purpose_node(STORAGE), "storage"),
    (client_node(ALICE), "storage/alice"),
    (client_node(LOG), "audit-log/@global"),
    (key_node(ALICE, "current", Half.SECRET), "storage/alice/current"),
    (key_node(ALICE, "current", Half.PUBLIC), "storage/alice/current.pub"),
    (key_node(ALICE, STAMP, Half.PUBLIC), f"storage/alice/{STAMP}.pub"),
    (rotate_node(LOG), "audit-log/@global/rotate"),
]


@pytest.mark.parametrize(("node", "text"), PATHS)
def test_a_node_is_called_by_its_path(node: Node, text: str) -> None:
    assert str(node) == text
    assert node.path == tuple(text.split("/") if text else ())


@pytest.mark.parametrize(("node", "text"), PATHS)
def test_the_parent_is_the_path_without_its_last_part(node: Node, text: str) -> None:
    assert str(parent_of(node)) == text.rpartition("/")[0]
    assert parent_of(node).kind.is_directory


@pytest.mark.parametrize(
    ("kind", "is_directory"),
    [
        (Kind.ROOT, True),
        (Kind.PURPOSE, True),
        (Kind.CLIENT, True),
        (Kind.CONTROL_DIRECTORY, True),
        (Kind.KEY, False),
        (Kind.ROTATE, False),
        (Kind.CONTROL, False),
    ],
)
def test_only_directories_have_children(kind: Kind, is_directory: bool) -> None:
    assert kind.is_directory is is_directory


@pytest.mark.parametrize("version", ["current", STAMP, "1"])
@pytest.mark.parametrize("half", Half)
def test_a_key_label_goes_round(version: str, half: Half) -> None:
    assert parse_key_label(key_label(version, half)) == (version, half)


def test_the_halves_of_a_version_are_named_as_openssh_names_them() -> None:
    assert key_label("current", Half.SECRET) == "current"
    assert key_label("current", Half.PUBLIC) == "current.pub"
