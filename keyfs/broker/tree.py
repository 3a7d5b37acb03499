"""The tree as the key store is now: names to nodes, children, and what `stat` shows."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final

from keyfs.broker.clients import NewClients
from keyfs.broker.keystore import KeyStore
from keyfs.core.names import CURRENT, GLOBAL, Half, KeyRef, key_ref_of, parse_purpose
from keyfs.core.ordering import at_once, sorted_in_steps
from keyfs.core.policy import OWNER_WRITES, PUBLIC_MODE, READ_BITS, KeyPolicy, Policy
from keyfs.core.purposes import Purpose
from keyfs.core.states import VersionState
from keyfs.core.tree import (
    CONTROL_DIRECTORY,
    CONTROL_ROOT,
    ROTATE_TEXT,
    Facts,
    Kind,
    Node,
    client_node,
    control_node,
    file_named,
    key_node,
    node_at,
    purpose_node,
    rotate_node,
    view_node,
)
from keyfs.core.views import valid_views, view_size
from keyfs.errors import InvalidName, KeyNotFound
from keyfs.layout.base import KeyRing, KeyVersion

DIRECTORY_MODE: Final = 0o555
_OF_VERSION: Final = (Kind.KEY, Kind.VIEW)

Controls = Mapping[str, Callable[[], bytes]]


class Tree:
    """A view of a key store.

    Args:
        keys: loaded.
        controls: renders the files under `.keyfs`.
        is_writable: whether the owner may write where writing means something.
        started_ns: the time that directories without one of their own show.
        policy: who owns the files of which key, and which views there are; it can be exchanged.
    """

    def __init__(
        self,
        keys: KeyStore,
        controls: Controls,
        *,
        is_writable: bool,
        started_ns: int,
        policy: Policy | None = None,
    ) -> None:
        self._keys = keys
        self._controls = controls
        self.policy = policy or Policy()
        self._is_writable = is_writable
        self._started_ns = started_ns
        self.new_clients = NewClients(keys.store, keys.layout.purposes)
        self._labels: dict[Purpose, tuple[tuple[int, int], Sequence[str]]] = {}

    @property
    def edition(self) -> object:
        """Equal to what it was as long as `children` and `facts` of keys and clients are."""
        return self._keys.index.generation, self.new_clients.generation, self.policy

    def child(self, node: Node, name: str) -> Node:
        """The child of a directory. Raises: as `look_up`."""
        return self.look_up(node, name)[0]

    def look_up(self, node: Node, name: str) -> tuple[Node, Facts]:
        """The child of a directory, and what `stat` shows of it.

        Raises:
            KeyNotFound: it has none of that name.
        """
        try:
            meant = self._meant(node, name)
        except InvalidName as exc:
            raise KeyNotFound(f"nothing called {name!r} in {node}/") from exc
        if meant is None:
            raise KeyNotFound(f"nothing called {name!r} in {node}/")
        return meant, self.facts(meant)

    def children(self, node: Node) -> Iterable[Node]:
        """Everything in a directory, in the order of names.

        Raises:
            KeyNotFound: the directory is gone.
        """
        if node.kind is Kind.CLIENT and node.ref is not None:
            return self._lone_child(node.ref) or self._ring_children(self._ring(node.ref))
        if node.kind is Kind.PURPOSE and node.purpose is not None:
            purpose = node.purpose
            return (node_at(purpose, label) for label in at_once(self.labels(purpose)))
        if node.kind is Kind.CONTROL_DIRECTORY:
            return map(control_node, sorted(self._controls))
        if node.kind is Kind.ROOT:
            return [CONTROL_ROOT, *sorted(map(purpose_node, self._keys.layout.purposes), key=str)]
        return ()

    def labels(self, purpose: Purpose) -> Generator[None, None, Sequence[str]]:
        """The clients of a purpose as they stand in paths, in order; in short steps.

        While no key changes, the answer is the very same object, and comes without a step.
        """
        now = (self._keys.index.generation, self.new_clients.generation)
        known = self._labels.get(purpose)
        if known is None or known[0] != now:
            new = {ref.client for ref in self.new_clients.of(purpose)}
            found = chain(new, (client for client in self._keys.index.clients(purpose) if client not in new))
            labels = yield from sorted_in_steps(GLOBAL if client is None else client for client in found)
            known = self._labels[purpose] = (now, tuple(labels))
        return known[1]

    def demand(self, ref: KeyRef) -> None:
        """Nothing, if there is such a client.

        Raises:
            KeyNotFound: there is none.
        """
        if not self._keys.index.has(ref):
            self._ring(ref)

    def facts(self, node: Node) -> Facts:
        """What `stat` shows.

        Raises:
            KeyNotFound: it is gone.
        """
        if node.kind in _OF_VERSION:
            lone = self._lone(node)
            return self._file_facts(node, *lone) if lone else self.key_facts(node, self.version(node))
        if node.kind is Kind.CLIENT and node.ref is not None:
            return self._client_facts(node.ref)
        if node.kind is Kind.ROTATE and node.ref is not None:
            self._ring(node.ref)
            policy = self.policy.of(node.ref)
            return Facts(policy.mode, len(ROTATE_TEXT), self._started_ns, 1, policy.uid, policy.gid)
        if node.kind is Kind.CONTROL:
            return Facts(PUBLIC_MODE, len(self.control(node)), self._started_ns)
        return Facts(self._directory_mode(node), 0, self._started_ns)

    def version(self, node: Node) -> KeyVersion:
        """The version that a key file or a view shows.

        Raises:
            KeyNotFound: it is gone, or *node* is another kind of file.
        """
        if node.ref is None:
            raise KeyNotFound(f"{node} is no file of a key")
        return self._keys.ring(node.ref).version(node.version)

    def state(self, node: Node) -> VersionState:
        """The state of the version that a key file or a view shows.

        Raises:
            KeyNotFound: as `version`.
        """
        version = self.version(node)
        assert node.ref is not None  # noqa: S101 - else `version` has said so
        return self._keys.states.of(self._keys.ring(node.ref), version)

    def key_facts(self, node: Node, version: KeyVersion) -> Facts:
        """What `stat` shows of a key file or a view that is this version.

        Raises:
            KeyNotFound: the version has no such half.
        """
        return self._file_facts(node, version.part(node.half).size, version.created_ns)

    def new_file_facts(self, ref: KeyRef) -> Facts:
        """What `stat` shows of a `current` that is being made, and has no version yet."""
        policy = self.policy.of(ref)
        return Facts(policy.mode, 0, 0, 1, policy.uid, policy.gid)

    def views(self, ref: KeyRef, version_id: str, half: Half) -> Iterator[Node]:
        """The views that one half of a version would have, whether there is such a version or not."""
        enabled = self.policy.of(ref).views
        for view in valid_views(ref.purpose, half) if enabled else ():
            if view in enabled:
                yield view_node(ref, version_id, half, view)

    def is_read_only(self, node: Node) -> bool:
        """Whether nothing below this node can be written."""
        policy = None if node.ref is None else self.policy.of(node.ref)
        return not self._takes_writes(node.purpose, policy)

    def control(self, node: Node) -> bytes:
        """The content of a file under `.keyfs`.

        Raises:
            KeyNotFound: there is none of that name.
        """
        render = self._controls.get(node.path[-1])
        if render is None:
            raise KeyNotFound(f"no control file {node}")
        return render()

    def _takes_writes(self, purpose: Purpose | None, policy: KeyPolicy | None) -> bool:
        if not self._is_writable or (purpose is not None and purpose.is_legacy):
            return False
        return policy is None or policy.is_writable

    def _client_facts(self, ref: KeyRef) -> Facts:
        """Where what editors leave beside a key can be made, the owner has the write bit."""
        lone = self._keys.index.lone(ref)
        latest_ns = self._latest_ns(ref) if lone is None else lone[2] or 0
        policy = self.policy.of(ref)
        writes = OWNER_WRITES if self._takes_writes(ref.purpose, policy) else 0
        return Facts(DIRECTORY_MODE | writes, 0, latest_ns, 1, policy.uid, policy.gid)

    def _latest_ns(self, ref: KeyRef) -> int:
        versions = self._ring(ref).versions[-2:]  # what is older retired before them
        return max([v.retired_ns or v.created_ns or 0 for v in versions], default=self._started_ns)

    def _file_facts(self, node: Node, part_size: int, created_ns: int | None) -> Facts:
        assert node.ref is not None  # noqa: S101 - a file of a key
        is_current = node.version == CURRENT and node.view is None
        policy = self.policy.of(node.ref)
        mode = PUBLIC_MODE if node.is_public else policy.mode
        if not is_current or not self._takes_writes(node.ref.purpose, policy):
            mode &= READ_BITS
        size = part_size if node.view is None else view_size(node.view, node.half, part_size)
        # The value also lives on under its stamp once it retires; and a second link keeps watches of the
        # file alive when a program renames another file over it.
        return Facts(mode, size, created_ns or 0, 2 if is_current else 1, policy.uid, policy.gid)

    def _lone(self, node: Node) -> tuple[int, int | None] | None:
        """Size and time of what a file shows, where there is nothing else of its key."""
        lone = self._keys.index.lone(node.ref) if node.version == CURRENT and node.ref else None
        return lone[1:] if lone and lone[0] is node.half else None

    def _lone_child(self, ref: KeyRef) -> Sequence[Node]:
        """The only file of a key, where there is no other; else nothing."""
        lone, policy = self._keys.index.lone(ref), self.policy.of(ref)
        if lone is None or policy.views or self._takes_writes(ref.purpose, policy):
            return ()
        return (key_node(ref, CURRENT, lone[0]),)

    def _directory_mode(self, node: Node) -> int:
        """Where clients can be made, the owner has the write bit."""
        takes_names = node.kind is Kind.PURPOSE and node.purpose is not None and not node.purpose.is_global
        return DIRECTORY_MODE | (OWNER_WRITES if takes_names and not self.is_read_only(node) else 0)

    def _ring(self, ref: KeyRef) -> KeyRing:
        """The ring of a key; an empty one for a client that was made and has no key yet.

        Raises:
            KeyNotFound: there is neither.
        """
        try:
            return self._keys.ring(ref)
        except KeyNotFound:
            if ref in self.new_clients:
                return KeyRing(ref, ())
            raise

    def _meant(self, node: Node, name: str) -> Node | None:
        """What a name in a directory means, if it means anything; there need not be one.

        Raises:
            InvalidName: it means nothing.
        """
        if node.kind is Kind.CLIENT and node.ref is not None:
            policy = self.policy.of(node.ref)
            takes_writes = self._takes_writes(node.ref.purpose, policy)
            return file_named(node.ref, name, policy.views, takes_writes=takes_writes)
        if node.kind is Kind.PURPOSE and node.purpose is not None:
            return client_node(key_ref_of(node.purpose, name))
        if node.kind is Kind.ROOT:
            return CONTROL_ROOT if name == CONTROL_DIRECTORY else self._purpose(name)
        return control_node(name) if node.kind is Kind.CONTROL_DIRECTORY else None

    def _purpose(self, name: str) -> Node:
        return purpose_node(parse_purpose(name, self._keys.layout.purposes))

    def _ring_children(self, ring: KeyRing) -> Sequence[Node]:
        policy, nodes = self.policy.of(ring.ref), []
        for version in ring.versions:
            for half, part in ((Half.SECRET, version.secret), (Half.PUBLIC, version.public)):
                for label in () if part is None else {version.id, version.number or version.id}:
                    nodes.append(key_node(ring.ref, label, half))
                    nodes += self.views(ring.ref, label, half) if policy.views else ()
        if self._takes_writes(ring.ref.purpose, policy):
            nodes.append(rotate_node(ring.ref))
        return nodes if len(nodes) == 1 else sorted(nodes, key=_name)


def _name(node: Node) -> str:
    return node.path[-1]
