"""`StateWriter`: sets states, and destroys versions, now or later. Blocking.

Every change is: take the lock of all writers, read what is kept, look at the store itself, decide, write the
whole anew. So of two at once the second sees what the first has done, and a crash leaves the old or the new
records. A version is removed first, and noted as destroyed then: what is noted is true, whatever happens.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from keyfs.broker.keystore import KeyStore
from keyfs.broker.removal import demand_expendable, destroy
from keyfs.broker.states import anchor_of, anchored, said_of, state_of, tombstone
from keyfs.core.names import CURRENT, KeyRef
from keyfs.core.state_records import WHY_LIMIT, Record, as_text
from keyfs.core.states import KeyState, VersionState, demand_move
from keyfs.errors import InvalidSettings, KeyDestroyed, KeyfsError, KeyNotFound, OperationRefused
from keyfs.layout.base import KeyRing, KeyVersion
from keyfs.logs import event
from keyfs.store.base import STATES_BESIDE

_log = logging.getLogger(__name__)
DUE: Final = "it was due"


@dataclass(frozen=True, slots=True)
class Destroyed:
    """How a planned destruction ended: with *error* it did not happen."""

    ref: KeyRef
    version: str
    error: KeyfsError | None = None


@dataclass(frozen=True, slots=True)
class _Scene:
    """What a change starts from, with the lock held."""

    ring: KeyRing
    version: KeyVersion
    said: Record | None  # of this version
    others: list[Record]  # of all others, in this key store

    @property
    def is_current(self) -> bool:
        return self.version == self.ring.current


class StateWriter:
    """Changes the states of one key store.

    Args:
        keys: loaded.
        clock: nanoseconds since 1970; the store's own, which all hosts share, when None.
    """

    def __init__(self, keys: KeyStore, clock: Callable[[], int] | None = None) -> None:
        self._keys = keys
        self._clock = clock or keys.store.now_ns

    def set(self, ref: KeyRef, version_id: str, state: KeyState, why: str = "") -> VersionState:
        """Put a version into a state; returns what it has then.

        Raises:
            KeyNotFound, KeyDestroyed: there is no such version, or not any more.
            OperationRefused: that state may not follow the one it has.
            InvalidSettings: the reason is no line of text.
            StoreBusy, StoreFull, ReadOnly, AccessDenied, StoreUnavailable, MaterialCorrupt.
        """
        _check_reason(why)

        def change(scene: _Scene) -> Record | None:
            now = state_of(scene.version, scene.said, is_current=scene.is_current)
            if now.state is state and (not why or why == now.why):
                return scene.said
            if now.state is not state:
                demand_move(f"{ref}/{version_id}", now.state, state, is_current=scene.is_current)
            if self._keys.states.in_format is not None:
                self._keys.states.in_format.write(ref, version_id, state, why)
            return replace(scene.said or self._blank(scene), state=state, why=why, at_ns=self._clock())

        return self._change(ref, version_id, change)

    def plan(self, ref: KeyRef, version_id: str, after_s: float, *, why: str = "", is_forced: bool) -> int:
        """Have a version destroyed when that time has passed; returns when, in nanoseconds since 1970.

        Raises:
            As `set`; OperationRefused: others would become unreadable for Acra.
        """
        _check_reason(why)
        at_ns = self._clock() + int(after_s * 1_000_000_000)

        def change(scene: _Scene) -> Record:
            if not is_forced:
                demand_expendable(self._keys, scene.ring, version_id)
            said = scene.said or self._blank(scene)
            return replace(said, destroy_at_ns=at_ns, is_forced=is_forced, why=why or said.why)

        self._change(ref, version_id, change)
        event(_log, logging.INFO, "version.destroy_planned", key=str(ref), version=version_id)
        return at_ns

    def undo(self, ref: KeyRef, version_id: str) -> None:
        """Do not destroy a version after all; or let one be read again that was destroyed and came back.

        Raises:
            As `set`; OperationRefused: it was not planned.
        """

        def change(scene: _Scene) -> Record | None:
            said = scene.said
            if said is None or (said.destroy_at_ns is None and said.state is not KeyState.DESTROYED):
                raise OperationRefused(f"{ref}/{version_id} is not going to be destroyed: nothing to undo")
            if said.state is None or said.state is KeyState.DESTROYED:
                return None
            return replace(said, destroy_at_ns=None, is_forced=False)

        self._change(ref, version_id, change)
        event(_log, logging.INFO, "version.destroy_undone", key=str(ref), version=version_id)

    def destroy(self, ref: KeyRef, version_id: str, *, why: str = "", is_forced: bool = False) -> None:
        """Remove a version for good, and note that.

        Raises:
            As `keyfs.broker.removal.destroy`; InvalidSettings: the reason is no line of text.
        """
        _check_reason(why)
        version = destroy(self._keys, ref, lambda _ring: version_id, is_forced=is_forced)
        if version is not None:
            self._note_destroyed(ref, version, why)

    def destroy_due(self) -> Iterator[Destroyed]:
        """Carry out what was planned and is due; one that fails keeps no other from it.

        Raises:
            StoreUnavailable, AccessDenied, MaterialCorrupt: what is planned cannot be read.
        """
        now_ns = self._clock()
        for ref, record in list(self._keys.states.planned(self._keys.states.fetch())):
            if (record.destroy_at_ns or 0) <= now_ns:
                done = self._destroy_due(ref, record)
                if done is not None:
                    yield done

    def follow(self, ref: KeyRef, identities: Mapping[str, str], *, is_ahead: bool = False) -> None:
        """Blobs of a key are sealed anew: what was said of them is said of the new ones. Lock held.

        Args:
            ref: the key.
            identities: the old ones, each with the new one.
            is_ahead: they will be, if nothing comes between; until then it is said of both.

        Raises:
            StoreBusy, StoreFull, ReadOnly, AccessDenied, StoreUnavailable, MaterialCorrupt.
        """
        kept = self._keys.states.fetch()
        moved = [_followed(r, identities) if r.key == str(ref) else r for r in kept]
        said = dict.fromkeys([*kept, *moved] if is_ahead else moved)
        if list(said) != list(kept):
            self._keep(list(said))

    def adopt(self, source: KeyStore) -> int:
        """Say of versions here what *source*, from which they were copied, says; returns of how many.

        What was said here already counts more.

        Raises:
            StoreBusy, StoreFull, ReadOnly, AccessDenied, StoreUnavailable, MaterialCorrupt.
        """
        refs = [ref for ref in source.index.refs() if source.states.told(ref)]
        if not refs:  # as in most stores; then not even a lock is needed
            return 0
        self._keys.reload()
        adopted = [record for ref in refs for record in self._adopted(source, ref)]
        with self._keys.store.lock():
            kept = self._keys.states.fetch()
            known = {(record.key, record.anchor) for record in kept}
            new = [record for record in adopted if (record.key, record.anchor) not in known]
            if new:
                self._keep([*kept, *new])
            return len(new)

    def _adopted(self, source: KeyStore, ref: KeyRef) -> Iterator[Record]:
        ring = self._keys.ring(ref) if self._keys.index.has(ref) else KeyRing(ref, ())
        for version_id, record in said_of(source.ring(ref), source.states.told(ref)).items():
            yield from (replace(record, anchor=anchor_of(v)) for v in ring.versions if v.id == version_id)

    def next_due_ns(self) -> int | None:
        """When the next planned destruction is due, as far as is known in memory."""
        return min((r.destroy_at_ns or 0 for _, r in self._keys.states.planned()), default=None)

    def _destroy_due(self, ref: KeyRef, record: Record) -> Destroyed | None:
        """How it ended; None where nothing was left to do."""
        try:
            version_id = self._carry_out(ref, record)
        except KeyfsError as exc:
            return Destroyed(ref, record.anchor.stamp or CURRENT, exc)
        return None if version_id is None else Destroyed(ref, version_id)

    def _carry_out(self, ref: KeyRef, record: Record) -> str | None:
        def which(ring: KeyRing) -> str | None:
            """The version as it is called now, if nobody has thought better of it meanwhile."""
            found = anchored(self._looked_at(ring, record), record.anchor)
            return found[0].id if found and record in self._keys.states.fetch() else None

        try:
            version = destroy(self._keys, ref, which, is_forced=record.is_forced)
        except KeyNotFound:
            version = None
        if version is None:
            self._drop_lost(ref, record)
            return None
        self._note_destroyed(ref, version, record.why or DUE)
        return version.id

    def _looked_at(self, ring: KeyRing, record: Record) -> KeyRing:
        """The ring once the store itself was asked for what the record means: others may have removed it."""
        found = anchored(ring, record.anchor)
        parts = [part for v in found for part in (v.secret, v.public) if part is not None]
        return self._keys.relist(ring.ref, [part.name for part in parts]) or KeyRing(ring.ref, ())

    def _drop_lost(self, ref: KeyRef, record: Record) -> None:
        """What is to be destroyed is gone already: by another host, or by Acra's tools."""
        with self._keys.store.lock():
            ring = self._keys.relist(ref) or KeyRing(ref, ())
            found = anchored(self._looked_at(ring, record), record.anchor)
            kept = self._keys.states.fetch()
            if all(version.is_grave for version in found) and record in kept:
                grave = replace(record, state=KeyState.DESTROYED, destroy_at_ns=None, is_forced=False)
                self._keep([*(other for other in kept if other != record), grave])

    def _note_destroyed(self, ref: KeyRef, version: KeyVersion, why: str) -> None:
        """It is gone; that nobody could be told of it changes nothing."""
        gone = KeyRing(ref, (version,))
        try:
            with self._keys.store.lock():
                kept = self._keys.states.fetch()
                others = [r for r in kept if r.key != str(ref) or not anchored(gone, r.anchor)]
                grave = Record(str(ref), anchor_of(version), KeyState.DESTROYED, why, self._clock())
                self._keep([*others, grave])
        except KeyfsError as exc:
            event(_log, logging.WARNING, "states.not_noted", key=str(ref), version=version.id, reason=exc)

    def _change(
        self, ref: KeyRef, version_id: str, change: Callable[[_Scene], Record | None]
    ) -> VersionState:
        """One change of one record; *change* gets what is there, and says what is to be there of it."""
        with self._keys.store.lock():
            self._keys.relist(ref)
            scene = self._scene(ref, version_id, self._keys.states.fetch())
            record = change(scene)
            if record != scene.said:
                # A version that has retired since is called by its stamp from now on.
                record = None if record is None else replace(record, anchor=anchor_of(scene.version))
                self._keep(scene.others if record is None else [*scene.others, record])
            version = self._keys.ring(ref).version(
                version_id
            )  # of which the format may say something else by now
            return state_of(version, record, is_current=scene.is_current)

    def _scene(self, ref: KeyRef, version_id: str, kept: tuple[Record, ...]) -> _Scene:
        mine = [record for record in kept if record.key == str(ref)]
        try:
            ring = self._keys.ring(ref)
            version = ring.version(version_id)
        except KeyNotFound:
            if tombstone(mine, ref, version_id) is not None:
                raise KeyDestroyed(f"{ref}/{version_id} was destroyed") from None
            raise
        if version.is_grave:
            raise KeyDestroyed(f"{ref}/{version_id} was destroyed")
        said = said_of(ring, mine).get(version_id)
        return _Scene(ring, version, said, [record for record in kept if record is not said])

    def _blank(self, scene: _Scene) -> Record:
        return Record(str(scene.ring.ref), anchor_of(scene.version), None, "", self._clock())

    def _keep(self, records: list[Record]) -> None:
        self._keys.store.write_beside(STATES_BESIDE, as_text(records))
        if not self._keys.is_watched:  # else it hears of it as of anybody's change, and tells its readers
            self._keys.reload_states()


def _followed(record: Record, identities: Mapping[str, str]) -> Record:
    anchor = record.anchor
    identity = identities.get(anchor.identity, anchor.identity) if anchor.stamp is None else ""
    return replace(record, anchor=replace(anchor, identity=identity))


def _check_reason(why: str) -> None:
    """Nothing, if it can be shown in a line.

    Raises:
        InvalidSettings: it cannot.
    """
    if len(why) > WHY_LIMIT or (why and not why.isprintable()):
        raise InvalidSettings(f"a reason is one line of text, of at most {WHY_LIMIT} characters")
