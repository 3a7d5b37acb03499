"""`pkcs11:` wraps and unwraps in SoftHSM2, keeps the contract, and says which of the many things is wrong."""

import base64 as b64
from pathlib import Path

import pkcs11
import pytest
from pkcs11 import Attribute, KeyType, MechanismFlag
from softhsm import PIN, SoftHSM

from keyfs.core.secret import Secret
from keyfs.errors import (
    InsecurePermissions,
    InvalidSettings,
    KeyfsError,
    MasterKeyUnavailable,
)
from keyfs.master.registry import open_key
from keyfs.testing.master_contract import (
    CANARY,
    V1_TEXT,
    Put,
    WrappedMasterKeyContract,
    assert_no_secret,
    base64,
    wrapped,
)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> SoftHSM:
    """One token, with the AES key `acra` and others that are none."""
    hsm = SoftHSM(tmp_path_factory.mktemp("hsm"))
    hsm.add_token("keyfs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(hsm.conf))
        assert open_key(hsm.uri()).create() == "made AES-256 key 'acra' in token 'keyfs'"
        open_key(hsm.uri("token=keyfs;object=other;id=%01%ff")).create()
        add_useless_keys(hsm)
    return hsm


def add_useless_keys(hsm: SoftHSM) -> None:
    module = pkcs11.lib(str(hsm.module))
    with module.get_token(token_label="keyfs").open(rw=True, user_pin=PIN) as session:
        session.generate_keypair(KeyType.RSA, 2048, label="pair", store=True)
        signing = MechanismFlag.SIGN | MechanismFlag.VERIFY
        session.generate_key(KeyType.AES, 256, label="signs", store=True, capabilities=signing)
        for _ in range(2):
            session.generate_key(KeyType.AES, 256, label="twice", store=True)
    module.finalize()


@pytest.fixture
def hsm(machine: SoftHSM, monkeypatch: pytest.MonkeyPatch) -> SoftHSM:
    monkeypatch.setenv("SOFTHSM2_CONF", str(machine.conf))
    return machine


def refusal(uri: str, error: type[KeyfsError] = MasterKeyUnavailable) -> str:
    """The line with which a key refuses to wrap; to unwrap it says the same."""
    with pytest.raises(error) as caught:
        open_key(uri).wrap(Secret(CANARY))
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    assert PIN not in str(caught.value)
    assert caught.value.__cause__ is None or isinstance(caught.value.__cause__, OSError)
    assert_no_secret(str(caught.value))
    return str(caught.value)


class TestPkcs11(WrappedMasterKeyContract):
    @pytest.fixture
    def put(self, hsm: SoftHSM, tmp_path: Path) -> Put:
        path = tmp_path / "wrapped"

        def put(text: bytes | None) -> str:
            path.unlink(missing_ok=True)
            if text is not None:
                path.write_bytes(wrapped(hsm.uri(), text))
            return hsm.uri(options=f"&from=file:{path}")

        return put


# --- wrapped ---


def test_the_token_alone_opens_what_was_wrapped(hsm: SoftHSM) -> None:
    """No keyfs code: a nonce of 12 bytes, AES-GCM, its tag of 16 bytes."""
    blob = b64.b64decode(open_key(hsm.uri()).wrap(Secret(CANARY)), validate=True)
    module = pkcs11.lib(str(hsm.module))
    try:
        with module.get_token(token_label="keyfs").open(user_pin=PIN) as session:
            key = session.get_key(label="acra", key_type=KeyType.AES)
            parameters = pkcs11.GCMParams(blob[:12], b"keyfs master key", 128)
            assert isinstance(key, pkcs11.DecryptMixin)
            opened = key.decrypt(blob[12:], mechanism=pkcs11.Mechanism.AES_GCM, mechanism_param=parameters)
            assert opened == CANARY
    finally:
        module.finalize()


def test_nothing_is_wrapped_the_same_way_twice(hsm: SoftHSM) -> None:
    key = open_key(hsm.uri())
    assert key.wrap(Secret(CANARY)) != key.wrap(Secret(CANARY))


def test_any_flipped_bit_is_found(hsm: SoftHSM) -> None:
    key = open_key(hsm.uri())
    blob = bytearray(b64.b64decode(key.wrap(Secret(CANARY))))
    for at in range(len(blob)):
        blob[at] ^= 1 << at % 8
        with pytest.raises(MasterKeyUnavailable, match="does not open the wrapped master key"):
            key.unwrap(base64(bytes(blob)))
        blob[at] ^= 1 << at % 8
    assert key.unwrap(base64(bytes(blob))).reveal() == CANARY


@pytest.mark.parametrize("text", [b"", b"%%%", base64(CANARY)[:-1], base64(bytes(28)), V1_TEXT[:20]])
def test_what_was_never_wrapped_is_refused(hsm: SoftHSM, text: bytes) -> None:
    with pytest.raises(MasterKeyUnavailable, match="was not wrapped by this key"):
        open_key(hsm.uri()).unwrap(text)


def test_another_key_does_not_open_it(hsm: SoftHSM) -> None:
    text = open_key(hsm.uri()).wrap(Secret(CANARY))
    with pytest.raises(MasterKeyUnavailable, match="damaged, or another key's"):
        open_key(hsm.uri("token=keyfs;object=other")).unwrap(text)


# --- keys ---


def test_a_key_that_keyfs_made_cannot_leave_the_token(hsm: SoftHSM) -> None:
    module = pkcs11.lib(str(hsm.module))
    try:
        with module.get_token(token_label="keyfs").open(user_pin=PIN) as session:
            key = session.get_key(label="acra")
            shown = [Attribute.SENSITIVE, Attribute.EXTRACTABLE, Attribute.PRIVATE, Attribute.TOKEN]
            assert [key[attribute] for attribute in shown] == [True, False, True, True]
            with pytest.raises(pkcs11.AttributeSensitive):
                key[Attribute.VALUE]
    finally:
        module.finalize()


def test_a_key_that_is_there_already_is_left_as_it_is(hsm: SoftHSM) -> None:
    text = open_key(hsm.uri()).wrap(Secret(CANARY))
    assert open_key(hsm.uri()).create() == "key 'acra' is in token 'keyfs' already"
    assert open_key(hsm.uri()).unwrap(text).reveal() == CANARY


@pytest.mark.parametrize("path", ["id=%01%ff", "object=other;id=%01%FF;type=secret-key", "object=%6fther"])
def test_a_key_is_found_by_its_id_and_by_its_label(hsm: SoftHSM, path: str) -> None:
    text = open_key(hsm.uri(path)).wrap(Secret(CANARY))
    assert open_key(hsm.uri("object=other")).unwrap(text).reveal() == CANARY


def test_an_absent_key_is_named_with_those_there_are(hsm: SoftHSM) -> None:
    message = refusal(hsm.uri("token=keyfs;object=nobody;id=%02"))
    assert "no key 'nobody' with id 02; AES keys there: 'acra', 'other', 'twice'" in message


@pytest.mark.parametrize("label", ["pair", "signs"])
def test_a_key_of_another_kind_is_refused(hsm: SoftHSM, label: str) -> None:
    expected = f"'{label}' in token 'keyfs' is no AES key that may encrypt and decrypt"
    assert expected in refusal(hsm.uri(f"object={label}"))
    with pytest.raises(MasterKeyUnavailable, match="is no AES key"):
        open_key(hsm.uri(f"object={label}")).create()


def test_two_keys_of_one_name_are_not_guessed_between(hsm: SoftHSM) -> None:
    assert "several AES keys 'twice'; name one by id=" in refusal(hsm.uri("object=twice"))


# --- the token ---


def test_an_absent_token_is_named_with_those_there_are(hsm: SoftHSM) -> None:
    message = refusal(hsm.uri("token=nowhere;object=acra"))
    assert message.startswith("pkcs11:token=nowhere;object=acra: there is no such token; those there are:")
    assert "'keyfs' (serial " in message


def test_a_token_that_comes_and_goes_is_seen(
    hsm: SoftHSM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The module is started anew for each call; else it would only see what was there at first."""
    own = SoftHSM(tmp_path)
    monkeypatch.setenv("SOFTHSM2_CONF", str(own.conf))
    assert "those there are: none at all" in refusal(own.uri())
    own.add_token("keyfs")
    open_key(own.uri()).create()
    text = open_key(own.uri()).wrap(Secret(CANARY))
    own.add_token("second")
    assert "fits several tokens; add serial= of one: 'keyfs' (serial " in refusal(own.uri("object=acra"))
    own.remove_token("keyfs")
    assert "those there are: 'second' (serial " in refusal(own.uri())
    with pytest.raises(MasterKeyUnavailable, match="no such token"):
        open_key(own.uri()).unwrap(text)


def test_a_module_that_does_not_start_says_so(hsm: SoftHSM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOFTHSM2_CONF", "/no/such/configuration")
    assert f"module {hsm.module} reports GeneralError" in refusal(hsm.uri())


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/no/such.so", "No such file or directory"), ("/etc/passwd", "invalid ELF header")],
)
def test_a_module_that_cannot_be_loaded_is_named(path: str, reason: str) -> None:
    message = refusal(f"pkcs11:object=acra?module-path={path}", InvalidSettings)
    assert f"PKCS#11 module {path} cannot be loaded ({reason})" in message


# --- the PIN ---


def test_a_wrong_pin_is_tried_once_and_warned_of(hsm: SoftHSM, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong pin"
    wrong.touch(mode=0o600)
    wrong.write_text("0000")
    uri = f"pkcs11:object=acra?module-path={hsm.module}&pin-source=file:{tmp_path}/wrong%20pin"
    assert f"refuses the PIN in {wrong}; it counts wrong ones" in refusal(uri)
    assert open_key(hsm.uri()).wrap(Secret(CANARY)), "a refused PIN leaves nothing behind"


def test_without_a_pin_the_line_says_that_keys_may_be_hidden(hsm: SoftHSM) -> None:
    uri = f"pkcs11:object=acra?module-path={hsm.module}"
    assert "no key 'acra', without pin-source=FILE; AES keys there: none" in refusal(uri)
    with pytest.raises(InvalidSettings, match="wants a PIN; name the file that has it: pin-source=FILE"):
        open_key(f"pkcs11:object=new?module-path={hsm.module}").create()


def test_a_pin_file_that_is_open_to_others_is_refused(hsm: SoftHSM, tmp_path: Path) -> None:
    pin = tmp_path / "pin"
    pin.write_text(PIN)
    pin.chmod(0o640)
    uri = f"pkcs11:object=acra?module-path={hsm.module}&pin-source={pin}"
    assert f"run: chmod 600 {pin}" in refusal(uri, InsecurePermissions)


def test_a_pin_file_that_is_not_there_is_named(hsm: SoftHSM) -> None:
    uri = f"pkcs11:object=acra?module-path={hsm.module}&pin-source=/no/pin"
    assert "PIN file /no/pin cannot be read" in refusal(uri)
