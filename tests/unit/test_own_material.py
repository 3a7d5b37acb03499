"""What an import of an own purpose has to be, what becomes of its newline, and what is generated."""

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from keyfs.broker.material import check_read, demand_generator, generate, new_staged_write, normalise
from keyfs.core.names import Half
from keyfs.core.purposes import Purpose
from keyfs.core.secret import Secret
from keyfs.core.staging import SIZE_LIMIT
from keyfs.errors import InvalidMaterial, OperationRefused
from keyfs.testing.own import declared


def purpose_of(**said: object) -> Purpose:
    lines = (f"{key} = {value!r}".replace("'", '"') for key, value in said.items())
    [purpose] = declared("[purpose.x]\n" + "\n".join(lines))
    return purpose


def imported(purpose: Purpose, data: bytes) -> bytes:
    return normalise(purpose, data).reveal()


def refused(purpose: Purpose, data: bytes) -> str:
    with pytest.raises(InvalidMaterial) as caught:
        normalise(purpose, data)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- newlines ---


@pytest.mark.parametrize(
    ("newline", "data", "result"),
    [
        ("raw", b"word\n", b"word\n"),
        ("raw", b"word", b"word"),
        ("strip-one", b"word\n", b"word"),
        ("strip-one", b"word", b"word"),
        ("strip-one", b"word\n\n", b"word\n"),
        ("strip-one", b"word\r\n", b"word\r"),
        ("reject", b"word", b"word"),
        ("reject", b"word\n", None),
        ("strip-one", b"\n", None),
        ("raw", b"\n", b"\n"),
        ("raw", b"", None),
    ],
)
def test_one_trailing_newline_of_an_opaque_key(newline: str, data: bytes, result: bytes | None) -> None:
    purpose = purpose_of(kind="opaque", newline=newline)
    if result is None:
        refused(purpose, data)
    else:
        assert imported(purpose, data) == result


@pytest.mark.parametrize(
    ("newline", "data", "result"),
    [
        ("raw", b"k" * 4, b"k" * 4),
        ("raw", b"k" * 4 + b"\n", None),
        ("strip-one", b"k" * 4 + b"\n", b"k" * 4),
        ("strip-one", b"kkk\n", b"kkk\n"),
        ("reject", b"kkk\n", b"kkk\n"),
        ("reject", b"k" * 4 + b"\n", None),
        ("strip-one", b"kkk\n\n", b"kkk\n"),
        ("strip-one", b"k" * 5, None),
        ("strip-one", b"k" * 3, None),
        ("strip-one", b"", None),
    ],
)
def test_the_last_byte_of_a_symmetric_key_may_be_a_newline(
    newline: str, data: bytes, result: bytes | None
) -> None:
    purpose = purpose_of(kind="symmetric", size=4, newline=newline)
    if result is None:
        refused(purpose, data)
    else:
        assert imported(purpose, data) == result


@pytest.mark.parametrize("newline", ["raw", "strip-one", "reject"])
def test_a_key_is_not_longer_than_the_limit_whatever_its_newline(newline: str) -> None:
    purpose = purpose_of(kind="opaque", newline=newline)
    assert len(imported(purpose, b"k" * SIZE_LIMIT)) == SIZE_LIMIT
    assert "has 1 to 65536 bytes" in refused(purpose, b"k" * (SIZE_LIMIT + 1))
    if newline == "strip-one":
        assert len(imported(purpose, b"k" * SIZE_LIMIT + b"\n")) == SIZE_LIMIT
    else:
        refused(purpose, b"k" * SIZE_LIMIT + b"\n")


# --- passwords ---


@pytest.mark.parametrize("text", ["correct horse", "пароль", "p@$$ wörd", "x", "\N{PILE OF POO}" * 100])
def test_a_password_is_any_text_of_one_line(text: str) -> None:
    purpose = purpose_of(kind="password")
    assert imported(purpose, text.encode()) == text.encode()
    assert imported(purpose, text.encode() + b"\n") == text.encode()
    assert imported(purpose_of(kind="password", newline="raw"), text.encode() + b"\n").decode() == text + "\n"
    assert "newline" in refused(purpose_of(kind="password", newline="reject"), text.encode() + b"\n")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\n\n",
        b"a\0b",
        b"a\nb",
        b"a\tb",
        b"a\r\n",
        b"a\x7f",
        b"\xff",
        b"a\xc3",
        b"a\xc2\x85",
        b"a\n\n",
    ],
)
@pytest.mark.parametrize("newline", ["raw", "strip-one", "reject"])
def test_what_is_no_password_is_refused_without_repeating_it(newline: str, data: bytes) -> None:
    refused(purpose_of(kind="password", newline=newline), data)


def test_a_refused_password_is_in_no_message() -> None:
    with pytest.raises(InvalidMaterial) as caught:
        normalise(purpose_of(kind="password"), b"hunter2 is \xff mine")
    chain: BaseException | None = caught.value
    while chain is not None:
        assert "hunter2" not in repr(chain)
        chain = chain.__cause__ or chain.__context__


# --- what is generated ---


def test_a_generated_pem_is_a_private_key_of_the_kind() -> None:
    kinds = {
        "ec-p256": ec.EllipticCurvePrivateKey,
        "ed25519": ed25519.Ed25519PrivateKey,
        "rsa-3072": rsa.RSAPrivateKey,
    }
    for algorithm, kind in kinds.items():
        purpose = purpose_of(kind="pem", generate=algorithm)
        made = generate(purpose).reveal()
        assert isinstance(serialization.load_pem_private_key(made, None), kind)
        assert imported(purpose, made) == made


@pytest.mark.parametrize(
    ("said", "size"),
    [
        ({"kind": "symmetric", "size": 48}, 48),
        ({"kind": "opaque", "generate": 100}, 100),
        ({"kind": "password", "generate": 33}, 33),
    ],
)
def test_a_generated_key_has_its_size_and_is_new_each_time(said: dict[str, object], size: int) -> None:
    purpose = purpose_of(**said)
    made = [generate(purpose).reveal() for _ in range(20)]
    assert {len(key) for key in made} == {size}
    assert len(set(made)) == len(made)
    if said["kind"] == "password":
        assert b"".join(made).decode("ascii").isalnum()


@pytest.mark.parametrize("kind", ["pem", "opaque", "password"])
def test_nothing_is_generated_that_was_not_declared(kind: str) -> None:
    for ask in (demand_generator, generate):
        with pytest.raises(OperationRefused, match="x keys are not generated, only imported"):
            ask(purpose_of(kind=kind))


# --- staged writes, reads ---


def test_a_write_is_refused_as_soon_as_it_cannot_become_a_key() -> None:
    for said, data in (
        ({"kind": "symmetric", "size": 4}, b"12345"),
        ({"kind": "opaque"}, b"k" * (SIZE_LIMIT + 1)),
        ({"kind": "password"}, b"a\0b"),
        ({"kind": "password"}, b"a\tb"),
    ):
        staged = new_staged_write(purpose_of(**said))
        with pytest.raises(InvalidMaterial):
            staged.write(0, data)
        with pytest.raises(InvalidMaterial):
            staged.take()


def test_a_write_is_taken_that_may_still_become_a_key() -> None:
    for said, data in (
        ({"kind": "symmetric", "size": 4, "newline": "strip-one"}, b"1234\n"),
        ({"kind": "pem"}, b"text before -----BEGIN"),
        ({"kind": "password"}, "a\nö".encode()[:-1]),
    ):
        staged = new_staged_write(purpose_of(**said))
        assert staged.write(0, data) == len(data)


def test_what_was_sealed_is_read_whatever_is_declared_now() -> None:
    check_read(purpose_of(kind="symmetric", size=4), Half.SECRET, Secret(b"of another size"))
