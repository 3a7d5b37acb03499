"""A KMS that counts, and a cache in front of it under a clock that a test sets."""

from collections.abc import Callable

from keyfs.core.label import Label
from keyfs.core.secret import Secret
from keyfs.errors import KeyfsError
from keyfs.seal.caching import CachingProtection

ALICE, BOBBY = Label(b"alice", "acra_alice"), Label(b"bobby", "acra_bobby")
PLAINTEXT = b"plaintext-that-nobody-else-has-32"
AGE_S, USES, STALE_S = 300.0, 10, 3600.0
AWAY = r"kms\.away|kms\.back"


class KMS:
    """Opens everything to its bytes reversed, and counts."""

    engine = "double"
    is_local = False

    def __init__(self) -> None:
        self.calls: list[tuple[bytes, Label]] = []
        self.error: KeyfsError | None = None
        self.meanwhile: Callable[[], object] = lambda: None

    def seal(self, plaintext: Secret, label: Label) -> bytes:
        return plaintext.reveal()[::-1]

    def unseal(self, blob: bytes, label: Label) -> Secret:
        self.calls.append((blob, label))
        self.meanwhile()
        if self.error is not None:
            raise self.error
        return Secret(blob[::-1])


class Scene:
    def __init__(self, uses: int = USES) -> None:
        self.now_s = 1000.0
        self.kms = KMS()
        self.cache = CachingProtection(self.kms, AGE_S, uses, STALE_S, lambda: self.now_s)
        self.blob = self.cache.seal(Secret(PLAINTEXT), ALICE)

    def read(self, label: Label = ALICE) -> bytes:
        return self.cache.unseal(self.blob, label).reveal()
