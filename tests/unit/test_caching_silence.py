"""A KMS that takes requests and says nothing keeps nobody from what it opened before."""

import threading
from collections.abc import Iterator

import pytest
from cached import AGE_S, ALICE, AWAY, PLAINTEXT, STALE_S, USES, Scene

from keyfs.core.label import Label
from keyfs.core.secret import Secret
from keyfs.errors import MasterKeyUnavailable
from keyfs.seal import caching
from keyfs.testing.waiting import wait_until


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def silence(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Set, it ends."""
    monkeypatch.setattr(caching, "ASK_WITHIN_S", 0.05)
    scene.read()
    scene.now_s += AGE_S
    over = threading.Event()
    scene.kms.meanwhile = over.wait
    yield over
    over.set()
    scene.cache._threads.shutdown()


@pytest.mark.expects_log(AWAY)
def test_a_silent_kms_keeps_nobody_from_what_it_opened_before(scene: Scene, silence: threading.Event) -> None:
    assert [scene.read() for _ in range(3 * USES)] == [PLAINTEXT] * 3 * USES
    assert len(scene.kms.calls) == 2
    silence.set()
    wait_until(lambda: scene.cache._ask_again_at == 0)
    assert scene.read() == PLAINTEXT
    assert len(scene.kms.calls) == 2  # the late answer counts


@pytest.mark.expects_log(AWAY)
def test_a_late_answer_that_nobody_waits_for_is_wiped(scene: Scene, silence: threading.Event) -> None:
    late: list[Secret] = []
    real = scene.kms.unseal

    def unseal(blob: bytes, label: Label) -> Secret:
        late.append(real(blob, label))
        return late[-1]

    scene.kms.unseal = unseal  # type: ignore[method-assign]  # to see what it hands out
    assert scene.read() == PLAINTEXT
    silence.set()
    wait_until(lambda: bool(late) and not any(late[0].view()))


@pytest.mark.expects_log(r"kms\.away")
def test_a_late_refusal_counts(scene: Scene, silence: threading.Event) -> None:
    assert scene.read() == PLAINTEXT
    scene.kms.error = MasterKeyUnavailable("disabled")
    silence.set()
    wait_until(lambda: not scene.cache._entries)
    with pytest.raises(MasterKeyUnavailable):
        scene.read()


def test_what_was_never_opened_is_waited_for(scene: Scene, silence: threading.Event) -> None:
    threading.Timer(0.2, silence.set).start()
    assert scene.cache.unseal(b"never opened", ALICE).reveal() == b"never opened"[::-1]


@pytest.mark.expects_log(AWAY)
def test_an_answer_that_is_late_and_waited_for_after_all_is_whole(
    scene: Scene, silence: threading.Event
) -> None:
    """While it was waited for, what could have served instead became too old."""

    def become_too_old() -> None:
        scene.now_s += STALE_S
        silence.wait()

    scene.kms.meanwhile = become_too_old
    threading.Timer(0.2, silence.set).start()
    assert scene.read() == PLAINTEXT
