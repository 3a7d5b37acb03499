"""What a KMS opened is kept for so long, for so many uses, sealed; and longer while the KMS is away."""

import gc
import threading

import pytest
from cached import AGE_S, ALICE, AWAY, BOBBY, PLAINTEXT, STALE_S, USES, Scene

from keyfs.core.label import Label
from keyfs.errors import KeyfsError, KeyServiceUnavailable, MasterKeyUnavailable, UnsealFailed
from keyfs.seal import caching
from keyfs.seal.caching import RETRY_S, CachingProtection


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_the_kms_is_asked_once_for_so_many_uses(scene: Scene) -> None:
    assert [scene.read() for _ in range(USES)] == [PLAINTEXT] * USES
    assert len(scene.kms.calls) == 1
    assert scene.read() == PLAINTEXT
    assert len(scene.kms.calls) == 2


def test_an_answer_counts_for_so_long(scene: Scene) -> None:
    scene.read()
    scene.now_s += AGE_S - 1
    scene.read()
    assert len(scene.kms.calls) == 1
    scene.now_s += 1
    scene.read()
    assert len(scene.kms.calls) == 2


@pytest.mark.parametrize("uses", [0, 1])
def test_a_cache_without_uses_asks_each_time(uses: int) -> None:
    scene = Scene(uses)
    assert [scene.read() for _ in range(3)] == [PLAINTEXT] * 3
    assert len(scene.kms.calls) == 3


def test_sealing_fills_no_cache(scene: Scene) -> None:
    """What a writer proves after it sealed is that the KMS opens it."""
    assert not scene.kms.calls
    scene.read()
    assert scene.kms.calls == [(scene.blob, ALICE)]


def test_another_label_and_another_blob_are_asked_for(scene: Scene) -> None:
    scene.read()
    scene.read(BOBBY)
    scene.read(Label(b"", "acra_alicealice"))
    scene.cache.unseal(scene.blob + b"x", ALICE)
    assert len(scene.kms.calls) == 4


def test_each_reader_gets_a_copy_of_its_own(scene: Scene) -> None:
    for _ in range(2):
        with scene.cache.unseal(scene.blob, ALICE) as opened:
            assert opened.reveal() == PLAINTEXT
    assert scene.read() == PLAINTEXT


def test_no_plaintext_is_kept(scene: Scene) -> None:
    """Not even in a part: what lies in memory is sealed."""
    scene.cache.unseal(scene.blob, ALICE).wipe()
    cells = [entry.cell for entry in scene.cache._entries.values()]
    assert len(cells) == 1
    gc.collect()
    kept = [
        thing for thing in gc.get_referents(scene.cache, *vars(scene.cache).values()) if thing is not None
    ]
    shown = b"".join(thing for thing in [*cells, *kept] if isinstance(thing, bytes | bytearray))
    assert PLAINTEXT[:8] not in shown
    assert PLAINTEXT[::-1][:8] not in shown


# --- refusals ---


@pytest.mark.expects_log(r"kms\.away")
@pytest.mark.parametrize("error", [UnsealFailed("x"), MasterKeyUnavailable("disabled")])
def test_a_right_that_is_gone_is_gone_here_when_the_answer_is_too_old(
    scene: Scene, error: KeyfsError
) -> None:
    scene.read()
    scene.kms.error = error
    scene.read()
    scene.now_s += AGE_S
    for _ in range(2):
        with pytest.raises(type(error)):
            scene.read()
    scene.kms.error = KeyServiceUnavailable("away")
    with pytest.raises(KeyServiceUnavailable):  # what was refused is not served while the KMS is away
        scene.read()


# --- outages ---


@pytest.mark.expects_log(AWAY)
def test_while_the_kms_is_away_what_it_opened_goes_on_being_served(scene: Scene) -> None:
    scene.read()
    opened_at = scene.now_s
    scene.now_s += AGE_S
    scene.kms.error = KeyServiceUnavailable("away")
    while scene.now_s < opened_at + STALE_S:
        assert scene.read() == PLAINTEXT
        scene.now_s += 60
    with pytest.raises(KeyServiceUnavailable):
        scene.read()
    assert scene.cache.engine == "double (does not answer)"
    scene.kms.error = None
    assert scene.read() == PLAINTEXT
    assert scene.cache.engine == "double"


@pytest.mark.expects_log(r"kms\.away")
def test_a_kms_that_is_away_is_not_asked_for_each_read(scene: Scene) -> None:
    scene.read()
    scene.now_s += AGE_S
    scene.kms.error = KeyServiceUnavailable("away")
    for _ in range(3 * USES):
        assert scene.read() == PLAINTEXT
    assert len(scene.kms.calls) == 2
    scene.now_s += RETRY_S
    scene.read()
    assert len(scene.kms.calls) == 3


def test_what_was_never_opened_fails_while_the_kms_is_away(scene: Scene) -> None:
    scene.kms.error = KeyServiceUnavailable("away")
    for _ in range(2):
        with pytest.raises(KeyServiceUnavailable):
            scene.read()
    assert len(scene.kms.calls) == 2


@pytest.mark.expects_log(r"kms\.away")
@pytest.mark.expects_log(r"kms\.back")
def test_an_outage_is_one_line_at_its_beginning_and_one_at_its_end(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.read()
    for _ in range(2):
        scene.now_s += AGE_S
        scene.kms.error = KeyServiceUnavailable("it was stopped")
        for _ in range(3):
            with pytest.raises(KeyServiceUnavailable):
                scene.cache.unseal(b"never opened", ALICE)
        scene.kms.error = None
        scene.now_s += RETRY_S
        for _ in range(3):
            scene.read()
    said = [record.getMessage().split()[0] for record in caplog.records]
    assert said == ["kms.away", "kms.back"] * 2


# --- threads ---


def test_of_many_readers_of_one_key_one_asks(scene: Scene) -> None:
    everybody = threading.Barrier(9)
    found: list[bytes] = []

    def reader() -> None:
        everybody.wait()
        found.append(scene.read())

    threads = [threading.Thread(target=reader) for _ in range(8)]
    scene.kms.meanwhile = lambda: threading.Event().wait(0.05)  # all others are waiting by then
    for thread in threads:
        thread.start()
    everybody.wait()
    for thread in threads:
        thread.join()
    assert found == [PLAINTEXT] * 8
    assert len(scene.kms.calls) == 1


def test_a_full_cache_forgets_the_eldest(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching, "ENTRIES_MAX", 4)
    cache = CachingProtection(scene.kms, AGE_S, USES, STALE_S)
    blobs = [bytes([number]) * 32 for number in range(5)]
    for blob in blobs:
        cache.unseal(blob, ALICE)
    cache.unseal(blobs[-1], ALICE)
    assert len(scene.kms.calls) == 5
    cache.unseal(blobs[0], ALICE)
    assert len(scene.kms.calls) == 6
