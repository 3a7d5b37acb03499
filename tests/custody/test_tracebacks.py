"""A crash reporter that prints the variables of every frame prints no key."""

import traceback
from base64 import b64encode
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from keyfs import app
from keyfs.core.names import CURRENT, Half, parse_key_ref
from keyfs.errors import KeyfsError, MasterKeyUnavailable, UnsealFailed
from keyfs.master.base import MasterKeyProvider
from keyfs.master.env import EnvironmentMasterKey
from keyfs.master.registry import open_provider
from keyfs.seal.pure import PureSealer
from keyfs.testing import canary

KEY = canary.MASTER_KEY
SIGNATURE_KEY = canary.SYMMETRIC
V1_TEXT = b64encode(KEY)
DOCUMENT = b'{"encryption":"%b","signature":"%b"}' % (V1_TEXT, b64encode(SIGNATURE_KEY))
V2_TEXT = b64encode(DOCUMENT)
REFUSED = [
    ("v1", V1_TEXT + b" "),
    ("v1", b64encode(KEY[:31])),
    ("v1", V2_TEXT),
    ("v2", V1_TEXT),
    ("v2", V2_TEXT + b" "),
    ("v2", b64encode(DOCUMENT[:-1])),
    ("v2", b64encode(DOCUMENT.replace(b"signature", b"signatur"))),
    ("v2", b64encode(DOCUMENT.replace(b'"}', b' "}'))),
    ("v2", b64encode(b'{"encryption":"%b","signature":"%b"}' % (V1_TEXT, V1_TEXT))),
]
Place = Callable[[bytes], str]


def shown(error: type[BaseException], call: Callable[[], object]) -> str:
    """The traceback of what *call* raises, with the variables of all frames but this one's."""
    with pytest.raises(error) as caught:
        call()
    trace = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    del trace.stack[:1]  # ours
    assert trace.stack
    return "".join(trace.format(chain=True))


@pytest.fixture(params=["env", "hidden env", "file"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Puts a text there; the URI of the place."""

    def put(text: bytes) -> str:
        if request.param == "file":
            path = tmp_path / "key.canary-input"
            path.touch(mode=0o600)
            path.write_bytes(text)
            return f"file:{path}"
        monkeypatch.setenv("TRACED_KEY", text.decode())
        if request.param == "hidden env":
            EnvironmentMasterKey("TRACED_KEY", "v1").hide()
        return "env:TRACED_KEY"

    return put


@pytest.mark.parametrize(("layout", "text"), REFUSED, ids=range(len(REFUSED)))
def test_a_refused_key_is_in_no_frame(place: Place, layout: str, text: bytes) -> None:
    provider = open_provider(place(text), layout)
    said = shown(MasterKeyUnavailable, provider.fetch)
    assert "provider" not in said
    assert "memory at" in said
    assert canary.found_in(said) == []


def test_what_holds_a_key_does_not_show_it(place: Place) -> None:
    """The provider, the key and the sealer, as variables and with all they have."""
    uri = place(V1_TEXT)

    def crash(provider: MasterKeyProvider) -> None:
        key = provider.fetch()
        sealer = PureSealer(key.encryption)
        found = vars(provider) | vars(sealer)
        sealer.unseal(bytes(76), b"alice")
        assert found

    said = shown(UnsealFailed, lambda: crash(open_provider(uri, "v1")))
    assert "<Secret 48 bytes>" in said
    assert "PureSealer object" in said
    assert canary.found_in(said) == []


def test_a_failing_key_store_shows_no_key(place: Place, tmp_path: Path) -> None:
    app.init_store(f"dir:{tmp_path}/keys", "v1")
    ref = parse_key_ref("storage-sym/alice")
    keys, writer = app.open_keys(app.Access(f"dir:{tmp_path}/keys", place(V1_TEXT)))
    with closing(keys):
        keys.load()
        writer.generate(ref)
        (blob,) = (path for path in (tmp_path / "keys").iterdir() if path.is_file())
        blob.write_bytes(bytes(76))
        keys.load()
        said = shown(KeyfsError, lambda: keys.read(ref, CURRENT, Half.SECRET))
    assert "KeyStore object" in said
    assert canary.found_in(said) == []
