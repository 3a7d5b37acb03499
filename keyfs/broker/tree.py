"""The tree as the key store is now: names to nodes, children, and what `stat` shows."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from keyfs.broker.clients import NewClients
from keyfs.broker.keystore import KeyStore
from keyfs.core.inventory import Row
from keyfs.core.names import CURRENT, Half, KeyRef, parse_key_ref, parse_purpose
from keyfs.core.tree import (
    CONTROL_DIRECTORY,
    CONTROL_ROOT,
    ROTATE,
    ROTATE_TEXT,
    Facts,
    Kind,
    Node,
    client_node,
    control_node,
    key_node,
    parse_key_label,
    purpose_node,
    rotate_node,
)
from keyfs.errors import InvalidName, KeyNotFound
from keyfs.layout.base import KeyRing, KeyVersion

SECRET_MODE: Final = 0o400
PUBLIC_MODE: Final = 0o444
DIRECTORY_MODE: Final = 0o555
OWNER_WRITES: Final = 0o200

Controls = Mapping[str, Callable[[], bytes]]


class Tree:
    """A view of a key store.

    Args:
        keys: loaded.
        controls: renders the files under `.keyfs`.
        is_writable: whether the owner may write where writing means something.
        started_ns: the time that directories without one of their own show.
    """

    def __init__(self, keys: KeyStore, controls: Controls, *, is_writable: bool, started_ns: int) -> None:
        self._keys = keys
        self._controls = controls
        self._is_writable = is_writable
        self._started_ns = started_ns
        self.new_clients = NewClients(keys.store, keys.layout.purposes)

    def child(self, node: Node, name: str) -> Node:
        """The child of a directory.

        Raises:
            KeyNotFound: it has none of that name.
        """
        try:
            found = self._lookup(node, name)
        except InvalidName as exc:
            raise KeyNotFound(f"nothing called {name!r} in {node}/") from exc
        if found is None:
            raise KeyNotFound(f"nothing called {name!r} in {node}/")
        return found

    def children(self, node: Node) -> Iterator[Node]:
        """Everything in a directory, in the order of names.

        Raises:
            KeyNotFound: the directory is gone.
        """
        if node.kind is Kind.ROOT:
            yield CONTROL_ROOT
            yield from sorted(map(purpose_node, self._keys.layout.purposes), key=str)
        elif node.kind is Kind.CONTROL_DIRECTORY:
            yield from (control_node(name) for name in sorted(self._controls))
        elif node.kind is Kind.PURPOSE:
            refs = {*self._keys.index.refs(node.purpose), *self.new_clients.of(node.purpose)}
            yield from sorted(map(client_node, refs), key=str)
        elif node.kind is Kind.CLIENT and node.ref is not None:
            yield from self._ring_children(self._ring(node.ref))

    def facts(self, node: Node) -> Facts:
        """What `stat` shows.

        Raises:
            KeyNotFound: it is gone.
        """
        if node.kind is Kind.KEY and node.ref is not None:
            return self.key_facts(node, self._keys.ring(node.ref).version(node.version))
        if node.kind is Kind.CLIENT and node.ref is not None:
            versions = self._ring(node.ref).versions
            latest_ns = max((v.retired_ns or v.created_ns or 0 for v in versions), default=self._started_ns)
            return Facts(self._directory_mode(node), 0, latest_ns)
        if node.kind is Kind.ROTATE and node.ref is not None:
            self._ring(node.ref)
            return Facts(SECRET_MODE | OWNER_WRITES, len(ROTATE_TEXT), self._started_ns)
        if node.kind is Kind.CONTROL:
            return Facts(PUBLIC_MODE, len(self.control(node)), self._started_ns)
        return Facts(self._directory_mode(node), 0, self._started_ns)

    def key_facts(self, node: Node, version: KeyVersion) -> Facts:
        """What `stat` shows of a key file that is this version.

        Raises:
            KeyNotFound: the version has no such half.
        """
        part = version.part(node.half)
        mode = PUBLIC_MODE if node.half is Half.PUBLIC else SECRET_MODE
        is_current = version.id == CURRENT
        if is_current and node.half is Half.SECRET and not self.is_read_only(node):
            mode |= OWNER_WRITES
        # The value also lives on under its stamp once it retires; and a second link keeps watches of the
        # file alive when a program renames another file over it.
        return Facts(mode, part.size, version.created_ns or 0, nlink=2 if is_current else 1)

    def is_read_only(self, node: Node) -> bool:
        """Whether nothing below this node can be written."""
        return not self._is_writable or (node.purpose is not None and node.purpose.is_legacy)

    def control(self, node: Node) -> bytes:
        """The content of a file under `.keyfs`.

        Raises:
            KeyNotFound: there is none of that name.
        """
        render = self._controls.get(node.path[-1])
        if render is None:
            raise KeyNotFound(f"no control file {node}")
        return render()

    def _directory_mode(self, node: Node) -> int:
        """Where clients, and what editors leave beside a key, can be made, the owner has the write bit."""
        takes_names = node.kind is Kind.CLIENT or (
            node.kind is Kind.PURPOSE and node.purpose is not None and not node.purpose.is_global
        )
        return DIRECTORY_MODE | (OWNER_WRITES if takes_names and not self.is_read_only(node) else 0)

    def _ring(self, ref: KeyRef) -> KeyRing:
        """The ring of a key; an empty one for a client that was made and has no key yet.

        Raises:
            KeyNotFound: there is neither.
        """
        if ref in self.new_clients and not self._keys.index.has(ref):
            return KeyRing(ref, ())
        return self._keys.ring(ref)

    def _lookup(self, node: Node, name: str) -> Node | None:
        if node.kind is Kind.ROOT:
            return CONTROL_ROOT if name == CONTROL_DIRECTORY else self._purpose(name)
        if node.kind is Kind.CONTROL_DIRECTORY:
            return control_node(name) if name in self._controls else None
        if node.kind is Kind.PURPOSE and node.purpose is not None:
            ref = parse_key_ref(f"{node.purpose.name}/{name}", self._keys.layout.purposes)
            self._ring(ref)
            return client_node(ref)
        is_client = node.kind is Kind.CLIENT and node.ref is not None
        return self._ring_child(node.ref, name) if is_client and node.ref is not None else None

    def _purpose(self, name: str) -> Node:
        return purpose_node(parse_purpose(name, self._keys.layout.purposes))

    def _ring_child(self, ref: KeyRef, name: str) -> Node | None:
        if name == ROTATE:
            return None if self.is_read_only(client_node(ref)) else rotate_node(ref)
        version_id, half = parse_key_label(name)
        self._keys.ring(ref).version(version_id).part(half)
        return key_node(ref, version_id, half)

    def _ring_children(self, ring: KeyRing) -> Iterator[Node]:
        nodes = [
            key_node(ring.ref, version.id, half)
            for version in ring.versions
            for half, part in ((Half.SECRET, version.secret), (Half.PUBLIC, version.public))
            if part is not None
        ]
        if not self.is_read_only(client_node(ring.ref)):
            nodes.append(rotate_node(ring.ref))
        yield from sorted(nodes, key=str)


def inventory(keys: KeyStore, *, with_history: bool) -> list[Row]:
    """One row for each half of each version, by purpose, client and age."""
    order = {purpose: rank for rank, purpose in enumerate(keys.layout.purposes)}
    rings = sorted(keys.rings(), key=lambda ring: (order[ring.ref.purpose], ring.ref.client_label))
    return [
        row
        for ring in rings
        for version in ring.versions
        if with_history or version.id == CURRENT
        for row in _rows(ring.ref, version)
    ]


def _rows(ref: KeyRef, version: KeyVersion) -> Iterator[Row]:
    for part, is_public in ((version.secret, False), (version.public, True)):
        if part is not None:
            yield Row(
                purpose=ref.purpose.name,
                client=ref.client,
                version=version.id,
                current=version.id == CURRENT,
                public=is_public,
                size=part.size,
                created_ns=version.created_ns,
            )
