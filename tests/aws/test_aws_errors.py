"""What botocore raises that no server here can provoke: each has its class and one line."""

import pytest
from botocore import exceptions

from keyfs.errors import InvalidSettings, KeyfsError, KeyServiceUnavailable, MasterKeyUnavailable
from keyfs.master.aws_errors import FAILURES, OPERATIONS, as_keyfs_error, code_of, is_of_login

WHERE = "KMS at https://kms.eu-west-1.amazonaws.com"
SECRET = "SECRET"


def refusal(code: str, operation: str = "Decrypt", message: str = SECRET, status: int = 400) -> Exception:
    answer = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error: Exception = exceptions.ClientError(answer, operation)
    return error


CASES = [
    (exceptions.SSOTokenLoadError(error_msg=SECRET), MasterKeyUnavailable, "run aws sso login"),
    (exceptions.UnauthorizedSSOTokenError(), MasterKeyUnavailable, "has ended"),
    (exceptions.LoginRefreshRequired(), MasterKeyUnavailable, "has ended"),
    (exceptions.TokenRetrievalError(provider="sso", error_msg=SECRET), MasterKeyUnavailable, "has ended"),
    (exceptions.CredentialRetrievalError(provider="x", error_msg=SECRET), KeyServiceUnavailable, "fetched"),
    (exceptions.MetadataRetrievalError(error_msg=SECRET), KeyServiceUnavailable, "cannot be fetched"),
    (exceptions.ConfigParseError(path="/c", error=SECRET), InvalidSettings, "asked (ConfigParseError)"),
    (exceptions.InvalidRegionError(region_name="a b"), InvalidSettings, "(InvalidRegionError)"),
    (exceptions.InvalidConfigError(error_msg=SECRET), InvalidSettings, "(InvalidConfigError)"),
    (ValueError(SECRET), InvalidSettings, "(ValueError): check region=, endpoint= and the profile"),
    (PermissionError(13, "Permission denied", "/token"), InvalidSettings, "read (Permission denied)"),
    (exceptions.ConnectTimeoutError(endpoint_url="https://kms.eu-west-1.amazonaws.com/"),
     KeyServiceUnavailable, f"{WHERE} does not answer within 2 s"),
    (exceptions.ReadTimeoutError(endpoint_url="https://sts.amazonaws.com/"), KeyServiceUnavailable,
     f"https://sts.amazonaws.com, asked to log in for {WHERE}, does not answer within 3 s"),
    (exceptions.HTTPClientError(error=SECRET), KeyServiceUnavailable, f"{WHERE} broke off"),
    (refusal("Throttling", "AssumeRole"), KeyServiceUnavailable, "limits the rate"),
    (refusal("AccessDenied", "AssumeRole"), MasterKeyUnavailable, "AWS refuses AssumeRole (AccessDenied)"),
    (refusal("PackedPolicyTooLarge", "AssumeRole"), MasterKeyUnavailable, "and whom it trusts"),
    (refusal("IDPCommunicationError", "AssumeRoleWithWebIdentity"), KeyServiceUnavailable, "try again later"),
    (refusal("odd\ncode", "AssumeRole"), MasterKeyUnavailable, "AWS refuses AssumeRole (status 400)"),
    (refusal("odd\ncode"), InvalidSettings, "but something else answers"),
    (refusal("ExpiredToken", "AssumeRole"), MasterKeyUnavailable, "the session token is expired"),
    (refusal("InvalidArnException"), MasterKeyUnavailable, "is no name of a key there: correct it"),
    (refusal("ValidationException"), MasterKeyUnavailable, "with alias/k (ValidationException)"),
    (refusal("OptInRequired"), MasterKeyUnavailable, "enable the region in the account"),
    (refusal("AccessDeniedException", "Encrypt", ""), MasterKeyUnavailable, "may not kms:Encrypt with"),
]  # fmt: skip  # a table


@pytest.mark.parametrize(("error", "kind", "words"), CASES, ids=[f"{case[0]!r:.60}" for case in CASES])
def test_each_has_its_class_and_one_line(error: Exception, kind: type[KeyfsError], words: str) -> None:
    assert isinstance(error, FAILURES)
    made = as_keyfs_error(error, "alias/k", WHERE)
    assert type(made) is kind
    assert words in str(made)
    assert WHERE in str(made) or "AWS refuses" in str(made)
    assert str(made).isprintable()
    assert SECRET not in str(made)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (refusal("DisabledException"), False),
        (refusal("ThrottlingException"), False),
        (refusal("InvalidCiphertextException"), False),
        (refusal("ExpiredTokenException"), True),
        (refusal("InvalidSignatureException"), True),
        (refusal("AccessDenied", "AssumeRole"), True),
        (exceptions.NoCredentialsError(), True),
        (exceptions.ReadTimeoutError(endpoint_url="https://kms.example"), False),
        (exceptions.EndpointConnectionError(endpoint_url="https://kms.example"), False),
    ],
)
def test_what_says_that_the_login_should_be_made_anew(error: Exception, expected: bool) -> None:
    assert is_of_login(error) is expected


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (refusal("AccessDeniedException", message="User: x is not authorized"), "AccessDeniedException"),
        (refusal("AccessDeniedException", message=""), "IncorrectKeyException"),
        (refusal("AccessDeniedException", "Encrypt", ""), "AccessDeniedException"),
        (refusal("DisabledException"), "DisabledException"),
        (ValueError(), ""),
    ],
)
def test_a_decrypt_that_aws_relates_to_no_key_is_no_denial(error: Exception, code: str) -> None:
    assert code_of(error) == code


def test_no_operation_of_ours_is_taken_for_a_login() -> None:
    assert {"Encrypt", "Decrypt", "CreateKey"} <= OPERATIONS
    assert "AssumeRole" not in OPERATIONS
