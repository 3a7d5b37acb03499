"""Extended attributes: what keyfs says of a file beyond `stat`, under `user.keyfs.`; read-only (rule R14)."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from keyfs.broker.broker import KeyBroker
from keyfs.core.names import Half
from keyfs.core.stamps import rfc3339
from keyfs.core.tree import Kind, Node, view_node
from keyfs.core.views import View, fingerprint_half, valid_views
from keyfs.errors import KeyNotFound
from keyfs.layout.base import KeyVersion

OURS: Final = b"user.keyfs."
STATE: Final = OURS + b"state"


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute: which nodes have it, and its value. Only `value` may open a seal."""

    is_there: Callable[[KeyBroker, Node], bool]
    value: Callable[[KeyBroker, Node], Awaitable[str]]


def _version(broker: KeyBroker, node: Node) -> KeyVersion | None:
    if node.kind not in (Kind.KEY, Kind.VIEW):
        return None
    try:
        return broker.tree.version(node)
    except KeyNotFound:
        return None


def _is_key(broker: KeyBroker, node: Node) -> bool:
    return _version(broker, node) is not None


def _has_time(broker: KeyBroker, node: Node) -> bool:
    version = _version(broker, node)
    return version is not None and version.created_ns is not None


def _has_fingerprint(broker: KeyBroker, node: Node) -> bool:
    version = _version(broker, node)
    if version is None or node.purpose is None:
        return False
    half = fingerprint_half(node.purpose)
    part = version.public if half is Half.PUBLIC else version.secret
    return part is not None and View.FP in valid_views(node.purpose, half)


async def _id(_broker: KeyBroker, node: Node) -> str:
    return node.version


async def _state(broker: KeyBroker, _node: Node) -> str:
    return broker.freshness.state


async def _key_state(broker: KeyBroker, node: Node) -> str:
    return broker.tree.state(node).state.value


def _is_planned(broker: KeyBroker, node: Node) -> bool:
    return _is_key(broker, node) and broker.tree.state(node).destroy_at_ns is not None


async def _destroy_at(broker: KeyBroker, node: Node) -> str:
    return rfc3339(broker.tree.state(node).destroy_at_ns or 0)


async def _created(broker: KeyBroker, node: Node) -> str:
    return rfc3339(broker.tree.version(node).created_ns or 0)


async def _fingerprint(broker: KeyBroker, node: Node) -> str:
    """The same as in the view `.fp`, whether that is shown or not."""
    if node.ref is None:
        raise KeyNotFound(f"{node} is no file of a key")
    half = fingerprint_half(node.ref.purpose)
    snapshot = await broker.snapshot(view_node(node.ref, node.version, half, View.FP))
    return snapshot.content.reveal().decode().rstrip()


def _has_failed(broker: KeyBroker, node: Node) -> bool:
    return node.ref is not None and bool(broker.changes.outcomes.last_error(node.ref))


async def _last_error(broker: KeyBroker, node: Node) -> str:
    return "" if node.ref is None else broker.changes.outcomes.last_error(node.ref)


ATTRIBUTES: Final[Mapping[bytes, Attribute]] = {
    STATE: Attribute(lambda _broker, _node: True, _state),
    OURS + b"version": Attribute(_is_key, _id),
    OURS + b"key_state": Attribute(_is_key, _key_state),
    OURS + b"destroy_at": Attribute(_is_planned, _destroy_at),
    OURS + b"created": Attribute(_has_time, _created),
    OURS + b"fingerprint": Attribute(_has_fingerprint, _fingerprint),
    OURS + b"last_error": Attribute(_has_failed, _last_error),
}
