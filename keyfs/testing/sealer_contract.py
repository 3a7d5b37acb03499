"""What every sealer promises, as tests: subclass, say how to make yours, and pytest runs the suite on it.

    class TestMySealer(SealerContract):
        def make_sealer(self, key: bytes) -> Sealer:
            return MySealer(Secret(key))

Needs pytest, which is not a dependency of keyfs itself.
"""
# ruff: noqa: S101 - tests state what holds by asserting it

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, Final, NamedTuple

import pytest

from keyfs.core.secret import Secret
from keyfs.errors import InvalidMaterial, UnsealFailed
from keyfs.seal.base import Sealer
from keyfs.seal.cell import PASSPHRASE_OVERHEAD, SEAL_OVERHEAD

KEY: Final = bytes(range(101, 133))
OTHER_KEY: Final = bytes(range(102, 134))
PLAINTEXT: Final = b"0123456789abcdef0123456789ABCDEF"
CONTEXT: Final = b"alice1"


class KnownBlob(NamedTuple):
    """A blob that Themis wrote, and what is in it."""

    key: bytes
    context: bytes
    blob: bytes
    plaintext: bytes


class SealerContract:
    """Secure Cell Seal in symmetric-key mode."""

    overhead: ClassVar[int] = SEAL_OVERHEAD
    known: ClassVar[KnownBlob] = KnownBlob(
        key=bytes.fromhex("33ab22541636b34063ddbe2ce8a083d31597678a12fcdee96318564882fc1bfd"),
        context=b"alice1",
        blob=bytes.fromhex(
            "000101400c0000001000000020000000aa751d1d7323220d8a2bd307bed4f7ed58c7a599b974d4167b9b3750d164315b"
            "a65be2d068918800f61e633c1865200e0e64b1184aa78f84736fd674"
        ),
        plaintext=bytes.fromhex("0e9af1fab5bec365ceac6e04d2c19401fc68b9547e9acce0e12af00baf572108"),
    )

    def make_sealer(self, key: bytes) -> Sealer:
        """A new sealer of the kind under test."""
        raise NotImplementedError

    def flips(self, size: int) -> Iterator[tuple[int, int]]:
        """The flips to try on a blob of *size* bytes: index of the byte, mask of the bit. All of them."""
        return ((at, 1 << bit) for at in range(size) for bit in range(8))

    def lengths(self, size: int) -> Iterator[int]:
        """The lengths to which a blob of *size* bytes is cut. All of them."""
        return iter(range(size))

    def test_what_is_sealed_opens_to_the_same_bytes(self) -> None:
        """Whatever the length, a blob opens to what was sealed."""
        sealer = self.make_sealer(KEY)
        for size in (1, 31, 32, 33, 1000):
            plaintext = bytes(index % 251 for index in range(size))
            assert sealer.unseal(sealer.seal(Secret(plaintext), CONTEXT), CONTEXT).reveal() == plaintext

    def test_the_blob_is_longer_by_the_overhead(self) -> None:
        """Sizes are known without a key."""
        sealer = self.make_sealer(KEY)
        for size in (1, 32, 45):
            assert len(sealer.seal(Secret(bytes(size)), CONTEXT)) == size + self.overhead

    def test_a_blob_written_by_themis_opens(self) -> None:
        """The format is that of Themis."""
        key, context, blob, plaintext = self.known
        assert self.make_sealer(key).unseal(blob, context).reveal() == plaintext

    def test_no_two_blobs_are_alike(self) -> None:
        """Sealing the same twice gives two blobs."""
        sealer = self.make_sealer(KEY)
        assert sealer.seal(Secret(PLAINTEXT), CONTEXT) != sealer.seal(Secret(PLAINTEXT), CONTEXT)

    @pytest.mark.parametrize("context", [b"", b"\x00", bytes(range(256)), b"c" * 1000])
    def test_any_context_serves(self, context: bytes) -> None:
        """A context may be empty, binary or long."""
        sealer = self.make_sealer(KEY)
        assert sealer.unseal(sealer.seal(Secret(PLAINTEXT), context), context).reveal() == PLAINTEXT

    @pytest.mark.parametrize("context", [b"", b"alice2", b"alice1\x00", b"alice", b"Alice1"])
    def test_another_context_opens_nothing(self, context: bytes) -> None:
        """A missing, longer, shorter or changed context is refused."""
        blob = self.make_sealer(KEY).seal(Secret(PLAINTEXT), CONTEXT)
        self.check_refused(blob, context)

    def test_another_key_opens_nothing(self) -> None:
        """A blob opens under its own key only."""
        blob = self.make_sealer(OTHER_KEY).seal(Secret(PLAINTEXT), CONTEXT)
        self.check_refused(blob, CONTEXT)

    def test_a_flipped_bit_opens_nothing(self) -> None:
        """Any flipped bit, wherever it lies, is refused."""
        sealer = self.make_sealer(KEY)
        blob = sealer.seal(Secret(b"short"), CONTEXT)
        for at, mask in self.flips(len(blob)):
            damaged = blob[:at] + bytes([blob[at] ^ mask]) + blob[at + 1 :]
            with pytest.raises(UnsealFailed):
                sealer.unseal(damaged, CONTEXT)

    def test_a_blob_of_another_length_opens_nothing(self) -> None:
        """A blob that was cut short, or has a byte too many, is refused."""
        sealer = self.make_sealer(KEY)
        blob = sealer.seal(Secret(b"short"), CONTEXT)
        for damaged in [blob + b"\x00", *(blob[:size] for size in self.lengths(len(blob)))]:
            with pytest.raises(UnsealFailed):
                sealer.unseal(damaged, CONTEXT)

    @pytest.mark.parametrize("blob", [b"", bytes(100), b"\xff" * 100, b"not a Secure Cell" * 10])
    def test_what_is_no_blob_is_refused(self, blob: bytes) -> None:
        """Bytes that are no blob at all are refused in the same manner."""
        self.check_refused(blob, CONTEXT)

    def test_all_refusals_read_the_same(self) -> None:
        """Nobody learns from the message why a blob does not open."""
        sealer = self.make_sealer(KEY)
        blob = sealer.seal(Secret(PLAINTEXT), CONTEXT)
        foreign = self.make_sealer(OTHER_KEY).seal(Secret(PLAINTEXT), CONTEXT)
        refusals = [(foreign, CONTEXT), (blob, b""), (blob[:-1], CONTEXT), (b"", CONTEXT)]
        messages = set()
        for refused, context in refusals:
            with pytest.raises(UnsealFailed) as caught:
                sealer.unseal(refused, context)
            messages.add(str(caught.value))
        assert len(messages) == 1

    def test_nothing_cannot_be_sealed(self) -> None:
        """An empty plaintext is refused when it is sealed, not when it is needed."""
        with pytest.raises(InvalidMaterial):
            self.make_sealer(KEY).seal(Secret(b""), CONTEXT)

    def test_an_empty_key_makes_no_sealer(self) -> None:
        """An empty key is refused at once."""
        with pytest.raises(InvalidMaterial):
            self.make_sealer(b"")

    def test_every_opening_gives_a_secret_of_its_own(self) -> None:
        """Wiping one result leaves the next one whole."""
        sealer = self.make_sealer(KEY)
        blob = sealer.seal(Secret(PLAINTEXT), CONTEXT)
        first, second = sealer.unseal(blob, CONTEXT), sealer.unseal(blob, CONTEXT)
        first.wipe()
        assert second.reveal() == PLAINTEXT

    def test_sealing_leaves_the_plaintext_as_it_was(self) -> None:
        """The caller's secret is neither wiped nor kept."""
        sealer, plaintext = self.make_sealer(KEY), Secret(PLAINTEXT)
        blob = sealer.seal(plaintext, CONTEXT)
        assert plaintext.reveal() == PLAINTEXT
        plaintext.wipe()
        assert sealer.unseal(blob, CONTEXT).reveal() == PLAINTEXT

    def test_threads_may_share_a_sealer(self) -> None:
        """Four threads that seal and open at the same time do not disturb each other."""
        sealer = self.make_sealer(KEY)

        def round_trip(number: int) -> bool:
            plaintext, context = b"%d" % number * 20, b"client %d" % number
            return sealer.unseal(sealer.seal(Secret(plaintext), context), context).reveal() == plaintext

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(round_trip, range(8)))

    def test_a_sealer_shows_no_key(self) -> None:
        """Neither the engine's name nor the repr holds key bytes."""
        sealer = self.make_sealer(KEY)
        shown = f"{sealer.engine} {sealer!r}"
        assert KEY.decode("latin-1") not in shown
        assert KEY.hex() not in shown

    def check_refused(self, blob: bytes, context: bytes) -> None:
        """Fail unless a sealer under `KEY` refuses *blob* with *context*."""
        with pytest.raises(UnsealFailed):
            self.make_sealer(KEY).unseal(blob, context)


class PassphraseSealerContract(SealerContract):
    """Secure Cell Seal in passphrase mode. Each opening costs a key derivation, so fewer are tried."""

    overhead: ClassVar[int] = PASSPHRASE_OVERHEAD
    known: ClassVar[KnownBlob] = KnownBlob(
        key=b"correct horse battery staple",
        context=b"alice1",
        blob=bytes.fromhex(
            "000101410c0000001000000020000000160000004eaefeec9385d80c2a2d20b23ff21cc7e2677b00dec9dbb762d14555"
            "feca0400100053220000d877b7ccb796581cdcab35485002f9677aad4422a18f4a76695efa784ad7cf5def956eec43f2"
            "8877b1fcaa43"
        ),
        plaintext=bytes.fromhex("a3468e35bfa9d9f32f445087a9de598a9baa1efb204bc85f1a4605434fb36875"),
    )

    def flips(self, size: int) -> Iterator[tuple[int, int]]:
        """The lowest bit of every seventh byte: every field, and no iteration count that takes minutes."""
        return ((at, 1) for at in range(0, size, 7))

    def lengths(self, size: int) -> Iterator[int]:
        """Every eleventh length."""
        return iter(range(0, size, 11))
