"""Options of a Vault URI that do not fit: named, and their values never repeated."""

import pytest
from vaults import JWT, SECRET_ID, TOKEN, refused

from keyfs.errors import InvalidSettings


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (f"token={TOKEN}", "token_file=PATH"),
        (f"auth=approle&secret_id={SECRET_ID}", "secret_id_file=PATH"),
        (f"auth=kubernetes&jwt={JWT}", "jwt_file=PATH"),
        ("auth=ldap", "auth=token|approle|kubernetes"),
        ("role_id=x", "'role_id' with auth=approle only"),
        ("auth=approle&role=x", "'role' with auth=kubernetes only"),
        ("auth=approle&role_id=x", "needs role_id=ID and one of"),
        ("auth=approle&secret_id_env=X", "needs role_id=ID and one of"),
        ("auth=kubernetes", "needs role=NAME"),
        ("tls_key=k", "no tls_cert"),
        ("namespace=a%20b", "visible ASCII"),
        ("token_file=%00", "value of 'token_file'"),
        ("auth=approle&role_id=%0a&secret_id_env=X", "value of 'role_id'"),
        ("auth=approle&role_id=x&secret_id_env=X&auth_mount=../sys", "value of 'auth_mount'"),
        ("auth=kubernetes&role=x&auth_mount=/", "value of 'auth_mount'"),
        ("adress=x", "has no option 'adress'"),
        ("auth_mount=x", "with auth=approle|kubernetes only"),
    ],
)
def test_an_option_that_does_not_fit_is_named_and_its_value_is_not(options: str, words: str) -> None:
    assert words in refused(InvalidSettings, f"vault:secret/acra/keys?address=http://127.0.0.1:1&{options}")


def test_a_uri_of_two_lines_is_refused() -> None:
    assert "line breaks" in refused(InvalidSettings, "vault:secret/a\nb?address=http://127.0.0.1:1")
