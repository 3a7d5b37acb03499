"""What the tree is made of: nodes, named by their path, and the facts `stat` shows of them."""

from collections.abc import Collection
from enum import Enum
from typing import Final, NamedTuple

from keyfs.core.names import CURRENT, PUBLIC_SUFFIX, Half, KeyRef
from keyfs.core.purposes import Purpose
from keyfs.core.stamps import is_stamp
from keyfs.core.views import View, parse_view_label, view_label

CONTROL_DIRECTORY: Final = ".keyfs"
ROTATE: Final = "rotate"
ROTATE_TEXT: Final = b"write any byte to this file to generate the next version of the key beside it\n"

TAKEN_SUFFIXES: Final = frozenset({PUBLIC_SUFFIX, *(f".{view.value}" for view in View)})

Path = tuple[str, ...]


class Kind(Enum):
    """What a node is."""

    ROOT = "root"
    PURPOSE = "purpose"
    CLIENT = "client"
    KEY = "key"
    VIEW = "view of a key"
    ROTATE = "rotate"
    SCRATCH = "scratch file"
    CONTROL_DIRECTORY = "control directory"
    CONTROL = "control file"

    __hash__ = object.__hash__  # each is one object: that of Enum, in Python, takes a good part of a listing

    @property
    def is_directory(self) -> bool:
        """Whether it has children."""
        return self in _DIRECTORIES


_DIRECTORIES: Final = frozenset({Kind.ROOT, Kind.PURPOSE, Kind.CLIENT, Kind.CONTROL_DIRECTORY})


class Node(NamedTuple):
    """One element of the tree. *path* names it for good; the rest follows from it."""

    kind: Kind
    path: Path
    purpose: Purpose | None = None
    ref: KeyRef | None = None
    version: str = ""
    half: Half = Half.SECRET
    view: View | None = None

    def __str__(self) -> str:
        return "/".join(self.path)

    @property
    def is_public(self) -> bool:
        """Whether what it shows of a key is for everybody."""
        return self.half is Half.PUBLIC or self.view is View.FP


class Facts(NamedTuple):
    """What `stat` shows of a node. *uid* and *gid* are None for the owner of the mount."""

    mode: int  # permission bits
    size: int
    mtime_ns: int
    nlink: int = 1  # 1 on a directory means: not counted
    uid: int | None = None
    gid: int | None = None


ROOT: Final = Node(Kind.ROOT, ())
CONTROL_ROOT: Final = Node(Kind.CONTROL_DIRECTORY, (CONTROL_DIRECTORY,))


def purpose_node(purpose: Purpose) -> Node:
    """The directory of one purpose."""
    return Node(Kind.PURPOSE, (purpose.name,), purpose)


def client_node(ref: KeyRef) -> Node:
    """The directory of one key ring."""
    return Node(Kind.CLIENT, (ref.purpose.name, ref.client_label), ref.purpose, ref)


def key_node(ref: KeyRef, version: str, half: Half) -> Node:
    """The file of one half of one version."""
    path = (ref.purpose.name, ref.client_label, key_label(version, half))
    return Node(Kind.KEY, path, ref.purpose, ref, version, half)


def view_node(ref: KeyRef, version: str, half: Half, view: View) -> Node:
    """The file that shows one half of one version in another form."""
    path = (ref.purpose.name, ref.client_label, view_label(version, half, view))
    return Node(Kind.VIEW, path, ref.purpose, ref, version, half, view)


def rotate_node(ref: KeyRef) -> Node:
    """The file that generates the next version when it is written to."""
    return Node(Kind.ROTATE, (ref.purpose.name, ref.client_label, ROTATE), ref.purpose, ref)


def file_node(ref: KeyRef, label: str) -> Node:
    """The file that a name beside a key means, whether there is one or not."""
    if label == ROTATE:
        return rotate_node(ref)
    view = parse_view_label(label, ref.purpose)
    return key_node(ref, *parse_key_label(label)) if view is None else view_node(ref, *view)


def file_named(ref: KeyRef, name: str, views: Collection[View], *, takes_writes: bool) -> Node | None:
    """What a name beside a key means with these views, if it means anything; there need not be one."""
    if name == CURRENT:  # by far the most often
        return key_node(ref, CURRENT, Half.SECRET)
    if name == ROTATE:
        return rotate_node(ref) if takes_writes else None
    parsed = parse_view_label(name, ref.purpose)
    if parsed is not None and parsed[2] in views:
        return view_node(ref, *parsed)
    return key_node(ref, *parse_key_label(name))


def node_at(purpose: Purpose, client_label: str, label: str | None = None) -> Node:
    """The directory of a key ring, or with *label* the file of that name in it: what their paths mean."""
    ref = KeyRef(purpose, None if purpose.is_global else client_label)
    return client_node(ref) if label is None else file_node(ref, label)


def control_node(name: str) -> Node:
    """One of the files under `.keyfs`."""
    return Node(Kind.CONTROL, (CONTROL_DIRECTORY, name))


def key_label(version: str, half: Half) -> str:
    """A key file's name: the version, with `.pub` for the public half."""
    return version + PUBLIC_SUFFIX if half is Half.PUBLIC else version


def parse_key_label(label: str) -> tuple[str, Half]:
    """The version and the half that a key file's name means."""
    version = label.removesuffix(PUBLIC_SUFFIX)
    return version, Half.SECRET if version == label else Half.PUBLIC


def is_key_label(label: str) -> bool:
    """Whether a file of this name beside a key would be taken for one of the key's own."""
    stem, dot, suffix = label.rpartition(".")
    if dot and f".{suffix}" in TAKEN_SUFFIXES:
        return is_key_label(stem)
    return label in (CURRENT, ROTATE) or is_stamp(label)


def parent_of(node: Node) -> Node:
    """The directory above a node; the root is above itself."""
    if len(node.path) < 2:  # noqa: PLR2004 - a child of the root, or the root
        return ROOT
    if node.ref is not None and len(node.path) > 2:  # noqa: PLR2004 - a file of a key
        return client_node(node.ref)
    return CONTROL_ROOT if node.purpose is None else purpose_node(node.purpose)
