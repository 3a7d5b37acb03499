"""Is a backup good? Every key of it is what it says, and every version of a key store is in it."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from keyfs.broker.exporting import Progress
from keyfs.broker.material import check_read, public_half
from keyfs.core.bundles import Bundle, BundledKey, BundledVersion
from keyfs.core.names import Half, KeyRef
from keyfs.core.purposes import Purpose
from keyfs.core.secret import Secret
from keyfs.errors import MaterialCorrupt

WIPED: Final = (
    "it is {size} zero bytes: acra-keys export with key ids wipes each private key before it packs it; "
    "this backup does not hold the key"
)
EMPTY: Final = (
    "the bundle holds no keys at all and is no backup: acra-keys export --all --private_keys packs an empty "
    "list in layout v2"
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong: where, a word for programs, and a sentence."""

    code: str
    where: str
    message: str
    is_note: bool = False


def demand_keys(bundle: Bundle) -> None:
    """Nothing, if there is anything in the backup.

    Raises:
        MaterialCorrupt: there is not.
    """
    if not bundle.keys and not bundle.left_out:
        raise MaterialCorrupt(EMPTY)


def faults_of(key: BundledKey) -> list[Fault]:
    """What is wrong with one key of a backup."""
    faults = []
    current = [rank for rank, version in enumerate(key.versions) if version.is_current]
    if current not in ([], [len(key.versions) - 1]):
        faults.append(Fault("order", str(key.ref), "the current version is not the last one, or not alone"))
    names = [version.id for version in key.versions]
    if len(set(names)) != len(names):
        faults.append(Fault("order", str(key.ref), "two versions have one name"))
    for version in key.versions:
        faults += _faults_of_version(key.ref, version)
    return faults


def check_bundle(bundle: Bundle, progress: Progress = lambda _done, _all: None) -> list[Fault]:
    """Everything that is wrong with a backup: each half is a key of its kind, and the halves belong together.

    Args:
        bundle: opened.
        progress: told the number of keys done and of all keys.
    """
    faults = [Fault("left-out", name, reason) for name, reason in sorted(bundle.left_out.items())]
    for done, key in enumerate(bundle.keys, 1):
        faults += faults_of(key)
        progress(done, len(bundle.keys))
    return faults


def compare(bundle: Bundle, store: Bundle) -> Iterator[Fault]:
    """How a backup differs from a key store. What only the backup has is a note: it may be destroyed."""
    ours = {key.ref: key for key in bundle.keys}
    for key in store.keys:
        other = ours.pop(key.ref, None)
        if other is not None:
            yield from _compare_key(key, other)
        elif key.held():
            yield Fault("missing", str(key.ref), "the key store has this key, the backup has not")
    for ref in ours:
        yield Fault("extra", str(ref), "the backup has this key, the key store has not", is_note=True)


def fingerprint(purpose: Purpose, secret: Secret | None, public: Secret | None) -> bytes:
    """Equal for equal versions, whichever halves there are: what tells one from another, and nothing more.

    Raises:
        MaterialCorrupt: *secret* is not a key of its kind.
    """
    if secret is not None:
        derived = public_half(purpose, secret)
        return hashlib.sha256(secret.view() if derived is None else derived).digest()
    return b"" if public is None else hashlib.sha256(public.view()).digest()


def fingerprint_of(ref: KeyRef, version: BundledVersion) -> bytes:
    """The fingerprint of a version of a backup. Raises: as `fingerprint`."""
    return fingerprint(ref.purpose, version.secret, version.public)


def _faults_of_version(ref: KeyRef, version: BundledVersion) -> list[Fault]:
    if version.is_destroyed:
        return []
    where, faults = f"{ref}/{version.id}", []
    for half, material in version.halves():
        if ref.purpose.own is None and not material.reveal().strip(b"\0"):
            faults.append(Fault("wiped", where, WIPED.format(size=len(material))))
        else:
            faults += _faults_of_half(ref, where, half, material)
    if version.secret is None and version.public is None:
        faults.append(Fault("empty", where, "there is no key material"))
    if not faults and version.secret is not None and version.public is not None:
        faults += _faults_of_pair(ref, where, version.secret, version.public)
    return faults


def _faults_of_half(ref: KeyRef, where: str, half: Half, material: Secret) -> Iterator[Fault]:
    if half is Half.PUBLIC and not ref.purpose.is_pair:
        yield Fault("form", where, f"a {ref.purpose} key has no public half")
        return
    try:
        check_read(ref.purpose, half, material)
    except MaterialCorrupt as exc:
        yield Fault("form", where, str(exc))


def _faults_of_pair(ref: KeyRef, where: str, secret: Secret, public: Secret) -> Iterator[Fault]:
    if public_half(ref.purpose, secret) != public.reveal():
        yield Fault("pair", where, "the public half does not belong to the private half")


def _compare_key(store: BundledKey, bundle: BundledKey) -> Iterator[Fault]:
    held = {fingerprint_of(bundle.ref, version) for version in bundle.held()}
    there = {fingerprint_of(store.ref, version) for version in store.held()}
    for version in store.held():
        if fingerprint_of(store.ref, version) not in held:
            word = "current" if version.is_current else "retired"
            yield Fault("missing", f"{store.ref}/{version.id}", f"this {word} version is not in the backup")
    for version in bundle.held():
        if fingerprint_of(bundle.ref, version) not in there:
            message = "the backup has this version, the key store has not"
            yield Fault("extra", f"{bundle.ref}/{version.id}", message, is_note=True)
