"""The URIs of RFC 7512, as far as `pkcs11:` takes them."""

import pytest

from keyfs.errors import InvalidSettings
from keyfs.master.pkcs11_uri import Pkcs11URI, parse_pkcs11_uri

MODULE = "module-path=/m.so"


def test_everything_there_is() -> None:
    parsed = parse_pkcs11_uri(
        "token=My%20token;manufacturer=M;serial=0%31;model=X+Y;slot-id=7;object=a%3bb;id=%00%ff;type=secret-key"
        "?module-path=/a%20b.so&pin-source=file:///etc/p%25n&from=env:WRAPPED"
    )
    token = {
        "token": "My token", "manufacturer": "M", "serial": "01", "model": "X+Y", "slot-id": "7",
    }  # fmt: skip
    shown = (
        "pkcs11:token=My%20token;manufacturer=M;serial=0%31;model=X+Y;slot-id=7;object=a%3bb;id=%00%ff;"
        "type=secret-key"
    )
    assert parsed == Pkcs11URI(shown, "/a b.so", "/etc/p%n", token, "a;b", b"\0\xff")


@pytest.mark.parametrize("source", ["/etc/pin", "file:/etc/pin", "file:///etc/pin"])
def test_the_pin_file_in_each_notation(source: str) -> None:
    assert parse_pkcs11_uri(f"object=a?{MODULE}&pin-source={source}").pin_file == "/etc/pin"


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("", "needs the label of a key"),
        (f"token=t?{MODULE}", "needs the label of a key"),
        ("object=a", "needs the absolute path of the token's PKCS#11 module"),
        ("object=a?module-path=m.so", "needs the absolute path of the token's PKCS#11 module"),
        (f"object=a?{MODULE}&pin-value=5678", "takes no pin-value, which everybody sees in ps"),
        (f"object=a;pin-value=5678?{MODULE}", "takes no pin-value, which everybody sees in ps"),
        (f"object=a?{MODULE}&pin-source=pin5678", "needs the absolute path of a file with the PIN"),
        (f"object=a?{MODULE}&pin-source=|pin5678", "needs the absolute path of a file with the PIN"),
        (f"object=a;object=b?{MODULE}", "needs 'object' once, with a value"),
        (f"object=?{MODULE}", "needs 'object' once, with a value"),
        (f"object?{MODULE}", "needs 'object' once, with a value"),
        (f"object=a\nb?{MODULE}", "needs 'object' once, with a value"),
        (f"object=a;type=private?{MODULE}", "takes AES keys only"),
        (f"object=%ff?{MODULE}", "needs 'object' in percent-encoded UTF-8"),
        (f"object=a%00?{MODULE}", "needs 'object' in percent-encoded UTF-8"),
        (f"object=a;pin=5678?{MODULE}", "has no 'pin'"),
        (f"object=a?{MODULE}&pim-source=5678", "has no 'pim-source'"),
        (f"object=a;?{MODULE}", "has no ''"),
    ],
)
def test_what_is_refused_and_never_repeated(rest: str, said: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        parse_pkcs11_uri(rest)
    assert said in str(caught.value)
    assert "5678" not in str(caught.value)
    assert "\n" not in str(caught.value)
