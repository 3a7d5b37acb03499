"""Changes of one key that a process can die in, and how many steps each has at least."""

import hashlib
from dataclasses import dataclass

import trio
from dying import Change

from keyfs.broker.broker import KeyBroker
from keyfs.broker.changes import Tools
from keyfs.broker.check import check
from keyfs.broker.freshness import Freshness
from keyfs.broker.keystore import KeyStore
from keyfs.broker.outcomes import Outcomes
from keyfs.broker.tree import Tree
from keyfs.broker.writer import RingWriter
from keyfs.core import purposes as p
from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.core.tree import key_node
from keyfs.offload import Offload
from keyfs.seal.keypair import generate_pair

PAIR = KeyRef(p.STORAGE, "alice")
POISON = KeyRef(p.POISON_RECORD, None)
SYMMETRIC = KeyRef(p.STORAGE_SYM, "alice")
STEPS_OF_RING = 4  # stage, switch, sync, done
NEW_PRIVATE = generate_pair()[0].reveal()
NEW_SYMMETRIC = hashlib.sha256(b"imported").digest()


def material(ref: KeyRef) -> bytes:
    return NEW_PRIVATE if ref.purpose.is_pair else NEW_SYMMETRIC


@dataclass(frozen=True)
class Case:
    """A change of one key, what comes before it, and how many steps it must have at least."""

    ref: KeyRef
    history: int
    change: Change
    least_steps: int
    amends: bool = False

    def least_steps_in(self, layout: str) -> int:
        return self.least_steps if layout == "v1" else STEPS_OF_RING


def generate(ref: KeyRef) -> Change:
    return lambda _keys, writer: writer.generate(ref)


def rotate(ref: KeyRef) -> Change:
    return lambda _keys, writer: writer.rotate(ref)


def import_bytes(ref: KeyRef) -> Change:
    return lambda _keys, writer: writer.import_material(ref, material(ref))


def amend(ref: KeyRef) -> Change:
    def change(keys: KeyStore, writer: RingWriter) -> None:
        current = keys.ring(ref).version(CURRENT).part(Half.SECRET)
        writer.import_material(ref, material(ref), amend=current.stat.identity)

    return change


def write_through_handle(ref: KeyRef) -> Change:
    def change(keys: KeyStore, writer: RingWriter) -> None:
        tree = Tree(keys, {}, is_writable=True, started_ns=0)
        trio.run(
            stage_and_commit,
            KeyBroker(Tools(keys, writer, tree, Offload(), Freshness(keys), Outcomes())),
            ref,
        )

    return change


async def stage_and_commit(broker: KeyBroker, ref: KeyRef) -> None:
    node = key_node(ref, CURRENT, Half.SECRET)
    staged = await broker.changes.stage(node, truncate=True)
    staged.write(0, material(ref))
    await broker.changes.commit(node, staged)


def repair(keys: KeyStore, writer: RingWriter) -> None:
    check(keys, writer, settle_s=0)


CASES = {
    "generate a pair": Case(PAIR, 0, generate(PAIR), 6),
    "generate in a directory of its own": Case(POISON, 0, generate(POISON), 6),
    "generate a symmetric key": Case(SYMMETRIC, 0, generate(SYMMETRIC), 4),
    "first rotation of a pair": Case(PAIR, 1, rotate(PAIR), 12),
    "later rotation of a pair": Case(PAIR, 3, rotate(PAIR), 12),
    "rotation of the poison pair": Case(POISON, 2, rotate(POISON), 12),
    "first rotation of a symmetric key": Case(SYMMETRIC, 1, rotate(SYMMETRIC), 7),
    "later rotation of a symmetric key": Case(SYMMETRIC, 3, rotate(SYMMETRIC), 7),
    "import of a pair": Case(PAIR, 2, import_bytes(PAIR), 12),
    "import of a symmetric key": Case(SYMMETRIC, 2, import_bytes(SYMMETRIC), 7),
    "write of a pair through a handle": Case(PAIR, 2, write_through_handle(PAIR), 12),
    "write of a symmetric key through a handle": Case(SYMMETRIC, 1, write_through_handle(SYMMETRIC), 7),
    "amendment of a pair": Case(PAIR, 2, amend(PAIR), 6, amends=True),
    "amendment of a symmetric key": Case(SYMMETRIC, 2, amend(SYMMETRIC), 4, amends=True),
}
