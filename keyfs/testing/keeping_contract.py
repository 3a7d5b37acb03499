"""What every layout promises on every medium about whole key stores: backups, migrations, checks.

As `keyfs.testing.layout_contract`: asserted by what keyfs says, and by what a stranger reads.
"""
# ruff: noqa: S101 - tests state what holds by asserting it

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from keyfs import app
from keyfs.broker.bundles import read_bundle, write_bundle
from keyfs.broker.check import check
from keyfs.broker.import_plan import Action, OnConflict
from keyfs.broker.importing import ImportReport, Target
from keyfs.broker.migrating import migrate, verify
from keyfs.broker.rekey import RekeyReport, rekey
from keyfs.broker.state_changes import StateWriter
from keyfs.core.bundles import Bundle
from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.core.secret import Secret
from keyfs.core.states import KeyState
from keyfs.errors import KeyExists, KeyExpired, KeyRevoked, RingInvalid, UnsealFailed
from keyfs.master.generate import generate as new_master_key
from keyfs.seal.bundles import Format, Lock, new_key
from keyfs.testing.backups import backup_of, restore_into
from keyfs.testing.builders import STORAGE, STORAGE_SYM
from keyfs.testing.layout_site import FEW, Halves, LayoutSite, Opened, fill, halves_of, names_of, refs
from keyfs.testing.shared_store import SharedStore, shared_store


class KeepingContract(LayoutSite):
    """What is done to all keys. Subclasses as of `LayoutSite`; and they say where things lie."""

    blob: ClassVar[str]  # of STORAGE_SYM: its only one, or that of what is current
    left_over: ClassVar[str]  # what a stopped program leaves beside it

    def files(self, store: SharedStore) -> dict[str, bytes]:
        """All of a key store, by name, past keyfs."""
        raise NotImplementedError

    def put(self, store: SharedStore, name: str, data: bytes) -> None:
        """Write a file of a key store, past keyfs."""
        raise NotImplementedError

    # --- export ---

    @pytest.mark.parametrize("form", Format)
    def test_export_has_every_version_and_no_more(
        self, store: SharedStore, elsewhere: Opened, form: Format
    ) -> None:
        """In a form of Acra's: all that it can carry, and what it cannot is named."""
        lock = Lock(new_key(form))
        sealed, left_out = write_bundle(backup_of(elsewhere[0]), lock, form)
        _, bundle = read_bundle(sealed, lock)
        there, carried = self.read_apart(store), carried_by(bundle)
        missing = {
            f"{ref}: {n}" for ref in FEW for n in range(3) if there[ref][n] not in carried.get(ref, [])
        }
        assert all(found == [one for one in there[ref] if one in found] for ref, found in carried.items())
        assert len(missing) == len(left_out)
        assert not missing or form is Format.ACRA_V1  # in which poison keys do not survive

    # --- import ---

    @pytest.mark.parametrize("layout", ["v1", "v2"])
    def test_import_brings_every_version_of_either_layout(
        self, store: SharedStore, place: Path, layout: str
    ) -> None:
        """In its order, under its name where the layout is the same; and once, however often it is run."""
        with self.new(place, "source", layout).opened() as (keys, writer):
            fill(writer)
            bundle, names = backup_of(keys), {ref: names_of(keys, ref) for ref in FEW}
        with store.opened() as (keys, writer):
            assert actions(restore_into(keys, writer, bundle, dry_run=True)) == {Action.ADD}
            assert not self.read_apart(store)
            assert actions(restore_into(keys, writer, bundle)) == {Action.ADD}
            files = self.files(store)
            assert self.read_apart(store) == carried_by(bundle)
            assert actions(restore_into(keys, writer, bundle)) == {Action.EQUAL}
            assert layout != self.layout or {ref: names_of(keys, ref) for ref in FEW} == names
        assert self.files(store) == files

    def test_import_of_an_older_backup_changes_nothing(self, store: SharedStore, here: Opened) -> None:
        """What retired since is known by what it is."""
        keys, writer = here
        bundle = backup_of(keys)
        for ref in FEW:
            writer.rotate(ref)
        files = self.files(store)
        assert actions(restore_into(keys, writer, bundle)) == {Action.EQUAL}
        assert self.files(store) == files

    def test_import_continues_what_is_older_than_the_backup(
        self, store: SharedStore, here: Opened, place: Path
    ) -> None:
        """What is current there retires, and order is kept."""
        keys, writer = here
        older = backup_of(keys)
        writer.rotate(STORAGE)
        writer.rotate(STORAGE)
        newer = backup_of(keys)
        with self.new(place, "target", self.layout).opened() as (other, its_writer):
            restore_into(other, its_writer, older)
            report = restore_into(other, its_writer, newer, OnConflict.NEWER_VERSION)
            assert not report.failed
            assert carried_by(backup_of(other)) == self.read_apart(store)
            assert names_of(other, STORAGE) == names_of(keys, STORAGE)

    @refs
    def test_import_writes_over_no_other_key(self, store: SharedStore, place: Path, ref: KeyRef) -> None:
        """Unless one is told that the backup is newer; and then both are there."""
        with self.new(place, "source", self.layout).opened() as (keys, writer):
            writer.generate(ref)
            bundle = backup_of(keys)
        with store.opened() as (keys, writer):
            writer.generate(ref)
            before, files = self.read_apart(store), self.files(store)
            report = restore_into(keys, writer, bundle)
            assert isinstance(report.failed[ref], KeyExists)
            assert actions(report) == {Action.CONFLICT}
            assert self.files(store) == files
            assert not restore_into(keys, writer, bundle, OnConflict.NEWER_VERSION).failed
        assert self.read_apart(store) == {ref: before[ref] + carried_by(bundle)[ref]}

    def test_import_of_a_version_that_was_destroyed(self, store: SharedStore, here: Opened) -> None:
        """It comes back where its place is free; a grave is told of before anything is written, and after."""
        keys, writer = here
        bundle, before = backup_of(keys), self.read_apart(store)
        StateWriter(keys).destroy(STORAGE, names_of(keys, STORAGE)[0], is_forced=True)
        buried = self.told(store)
        tried = restore_into(keys, writer, bundle, dry_run=True)
        report = restore_into(keys, writer, bundle)
        assert [(row.version, row.action) for row in tried.rows] == [
            (row.version, row.action) for row in report.rows
        ]
        if self.layout == "v1":
            assert not report.failed
            assert self.read_apart(store) == before
        else:
            assert set(report.failed) == {STORAGE}
            assert "was destroyed" in str(report.failed[STORAGE])
            assert self.told(store) == buried

    # --- migrate ---

    @pytest.mark.parametrize("layout", ["v1", "v2"])
    def test_migrate_brings_all_of_either_layout_and_leaves_the_source(
        self, store: SharedStore, place: Path, layout: str
    ) -> None:
        """From a directory to here: keys, order, states; once, however often it is run."""
        (place / "source").mkdir()
        source, root = place / "source", place / "source" / "keys"
        with (
            shared_store(source, f"dir:{root}", layout).opened() as (keys, writer),
            store.opened() as (target, its_writer),
        ):
            fill(writer)
            StateWriter(keys).set(STORAGE, CURRENT, KeyState.SUSPENDED, "we doubt it")
            before = contents_of(root)
            for action in (Action.ADD, Action.EQUAL):
                report = migrate(keys, Target(target, its_writer))
                assert {row.action for rows in report.rows.values() for row in rows} == {action}
                verify(keys, target, report)
                assert (report.failed, report.verified) == ({}, (4, 12, 18))
            assert contents_of(root) == before
            assert self.read_apart(store) == {ref: halves_of(keys, ref) for ref in FEW}
            assert layout != self.layout or all(names_of(keys, r) == names_of(target, r) for r in FEW)
            with pytest.raises(KeyExpired, match="we doubt it"):
                target.states.demand(STORAGE, CURRENT)

    # --- rekey ---

    def test_rekey_changes_the_master_key_and_nothing_else(self, store: SharedStore, here: Opened) -> None:
        """Names, order and states stay; the old key opens nothing any more."""
        StateWriter(here[0]).set(STORAGE, CURRENT, KeyState.COMPROMISED)
        before, names = self.read_apart(store), {ref: names_of(here[0], ref) for ref in FEW}
        anew = replace(store, master_key=store.master_key.with_name("new.key"))
        anew.master_key.touch(0o600)
        anew.master_key.write_text(new_master_key(self.layout))
        both = f"file:{anew.master_key},file:{store.master_key}"
        for rewrapped in (12, 0):
            report = RekeyReport()
            with closing(app.open_keys(app.Access(store.uri, both))[0]) as keys:
                keys.load()
                assert keys.protection is not None
                rekey(keys, keys.protection.members[0], report)
            assert (report.rewrapped, report.failed) == (rewrapped, {})
        assert self.read_apart(anew) == before
        with anew.opened() as (keys, _), store.opened() as (old, _):
            assert {ref: names_of(keys, ref) for ref in FEW} == names
            with pytest.raises(KeyRevoked):
                keys.states.demand(STORAGE, CURRENT)
            with pytest.raises((UnsealFailed, RingInvalid)):
                old.read(STORAGE_SYM, CURRENT, Half.SECRET)

    # --- check ---

    def test_check_tells_of_damage_and_repairs_nothing_away(self, store: SharedStore, here: Opened) -> None:
        """What cannot be read stays, somewhere; and all else is as it was."""
        before, files = self.read_apart(store), self.files(store)
        damaged = files[self.blob][:-1] + bytes([files[self.blob][-1] ^ 1])
        self.put(store, self.blob, damaged)
        for repairs in (False, True):
            with store.opened() as (keys, writer):
                report = check(keys, writer if repairs else None, settle_s=0)
                assert {finding.where for finding in report.findings} & {
                    self.blob,
                    f"{STORAGE_SYM}/{CURRENT}",
                }
                assert not report.is_clean
        assert self.files(store) == files | {self.blob: damaged}
        self.put(store, self.blob, files[self.blob])
        assert self.read_apart(store) == before

    def test_check_moves_what_is_left_over_out_of_the_store(self, store: SharedStore, here: Opened) -> None:
        """When it is asked to, and nothing else."""
        before, files = self.read_apart(store), self.files(store)
        self.put(store, self.left_over, b"left over")
        for repairs, is_clean in ((False, False), (True, True)):
            with store.opened() as (keys, writer):
                report = check(keys, writer if repairs else None, settle_s=0)
                assert [(f.code, f.where) for f in report.findings] == [("left-over", self.left_over)]
                assert report.is_clean is is_clean
        assert self.files(store) == files
        assert self.read_apart(store) == before


def contents_of(root: Path) -> dict[Path, bytes]:
    """Every file in a directory."""
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def carried_by(bundle: Bundle) -> dict[KeyRef, list[Halves]]:
    """Both halves of every version in a backup, oldest first."""
    found: dict[KeyRef, list[Halves]] = {}
    for key in bundle.keys:
        for version in key.versions:
            found.setdefault(key.ref, []).append((_revealed(version.secret), _revealed(version.public)))
    return found


def _revealed(material: Secret | None) -> bytes | None:
    return None if material is None else material.reveal()


def actions(report: ImportReport) -> set[Action]:
    """What happened to the versions of a backup."""
    return {row.action for row in report.rows}
