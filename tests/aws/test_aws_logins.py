"""Every way to log in: Acra's file, the environment, profiles, roles; and each that is missing or wrong."""

import json
from pathlib import Path

import pytest
from kmses import SESSION_TOKEN, forget_machine, refused, wrapped

from keyfs.errors import InsecurePermissions, InvalidSettings, KeyServiceUnavailable, MasterKeyUnavailable
from keyfs.master.registry import open_key
from keyfs.testing.kms_proxy import Hang, KMSProxy, Refusal
from keyfs.testing.kms_servers import KMSServer
from keyfs.testing.kms_uris import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY, with_options
from keyfs.testing.master_contract import CANARY

pytest_plugins = ["aws_fixtures"]
FILE = {"access_key_id": ACCESS_KEY_ID, "secret_access_key": SECRET_ACCESS_KEY, "region": REGION}
ROLE = "arn:aws:iam::123456789012:role/keyfs"


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine where no access key is set."""
    forget_machine(monkeypatch, tmp_path, logged_in=False)
    return tmp_path


@pytest.fixture
def server(moto: KMSServer, nobody: Path) -> KMSServer:
    moto.make("alias/acra_master_key")
    return moto


def private(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def opens(uri: str) -> bool:
    return open_key(uri).unwrap(wrapped(uri)).reveal() == CANARY


# --- Acra's file ---


def test_the_file_of_acra_has_region_and_endpoint(server: KMSServer, nobody: Path) -> None:
    path = private(nobody / "kms.json", json.dumps(FILE | {"endpoint": server.url}))
    assert opens(f"awskms:?credentials={path}")


def test_the_file_of_acra_is_read_as_go_reads_it(server: KMSServer, nobody: Path) -> None:
    document = {name.upper(): value for name, value in FILE.items()} | {"unknown": [1], "endpoint": None}
    path = private(nobody / "kms.json", json.dumps(document))
    assert opens(f"awskms:?credentials={path}&endpoint={server.url}")


def test_options_go_before_the_file(server: KMSServer, nobody: Path) -> None:
    path = private(nobody / "kms.json", json.dumps(FILE | {"endpoint": "http://127.0.0.1:1", "region": "x"}))
    assert opens(server.uri(credentials=str(path)))


def test_the_file_goes_before_the_environment(proxy: KMSProxy, server: KMSServer, nobody: Path) -> None:
    path = private(nobody / "kms.json", json.dumps(FILE))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIAOTHER")  # without its secret: not even looked at
        assert opens(proxy.uri(credentials=str(path)))


def test_a_file_that_is_open_to_others_is_refused(server: KMSServer, nobody: Path) -> None:
    path = private(nobody / "kms.json", json.dumps(FILE))
    path.chmod(0o640)
    line = refused(lambda: wrapped(server.uri(credentials=str(path))), InsecurePermissions)
    assert line == f"AWS credentials file {path} is open to others (mode 0640); run: chmod 600 {path}"
    path.chmod(0o600)
    assert opens(server.uri(credentials=str(path)))


def test_a_file_that_is_not_there_is_named(server: KMSServer) -> None:
    line = refused(lambda: wrapped(server.uri(credentials="/no/kms.json")))
    assert line.startswith("AWS credentials file /no/kms.json cannot be read (No such file or directory)")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no JSON object with access_key_id and secret_access_key"),
        (json.dumps([SECRET_ACCESS_KEY]), "is no JSON object"),
        (json.dumps(FILE)[:-1], "is no JSON object"),
        (json.dumps({"access_key_id": ACCESS_KEY_ID}), "has no usable secret_access_key"),
        (json.dumps(FILE | {"access_key_id": 7}), "has no usable access_key_id"),
        (json.dumps(FILE | {"secret_access_key": SECRET_ACCESS_KEY + "\n"}), "no usable secret_access_key"),
        (json.dumps(FILE | {"region": ["x"]}), "has no usable region: each is a text in one line"),
    ],
)  # fmt: skip  # a table
def test_a_file_that_is_not_acras_is_named_and_not_repeated(
    server: KMSServer, nobody: Path, text: str, words: str
) -> None:
    path = private(nobody / "kms.json", text)
    assert words in refused(lambda: wrapped(server.uri(credentials=str(path))), InvalidSettings)


def test_an_endpoint_in_the_file_is_held_to_the_same_rules(server: KMSServer, nobody: Path) -> None:
    path = private(nobody / "kms.json", json.dumps(FILE | {"endpoint": "http://kms.example"}))
    assert "is https:// but on this machine" in refused(
        lambda: wrapped(f"awskms:?credentials={path}"), InvalidSettings
    )


# --- what AWS's own tools take ---


def test_an_access_key_of_the_environment(server: KMSServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
    monkeypatch.setenv("AWS_SESSION_TOKEN", SESSION_TOKEN)
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", server.url)
    for variable in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(variable, REGION)
            assert opens("awskms:")


def test_an_endpoint_of_the_environment_is_held_to_the_same_rules(
    aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://kms.example")
    line = refused(lambda: wrapped(f"awskms:?region={REGION}"), InvalidSettings)
    assert "the network between here and kms.example could read every key" in line


def test_no_proxy_is_asked_about_this_machine(server: KMSServer, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_machine(monkeypatch, Path("/nowhere"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert opens(server.uri())
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", server.url)
    assert opens(server.uri(endpoint=""))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    line = refused(lambda: wrapped(with_options("awskms:", "https://kms.example", {})), KeyServiceUnavailable)
    assert line.startswith("the proxy to KMS at https://kms.example cannot be reached")


def test_a_profile_with_region_and_endpoint(server: KMSServer, nobody: Path) -> None:
    private(nobody / "aws-credentials", profile("team", aws_session_token=SESSION_TOKEN))
    (nobody / "aws-config").write_text(f"[profile team]\nregion = {REGION}\nendpoint_url = {server.url}\n")
    assert opens("awskms:?profile=team")


def test_the_profile_of_the_environment(
    server: KMSServer, nobody: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private(nobody / "aws-credentials", profile("team"))
    monkeypatch.setenv("AWS_PROFILE", "team")
    assert opens(server.uri())
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    line = refused(lambda: wrapped(server.uri()), InvalidSettings)
    assert f"the AWS profile for KMS at {server.url} is not there: correct profile= or AWS_PROFILE" in line


def test_a_role_that_a_profile_assumes(server: KMSServer, nobody: Path) -> None:
    private(nobody / "aws-credentials", profile("base"))
    (nobody / "aws-config").write_text(
        f"[profile base]\nregion = {REGION}\nendpoint_url = {server.url}\n"
        f"[profile role]\nregion = {REGION}\nrole_arn = {ROLE}\nsource_profile = base\n"
        f"endpoint_url = {server.url}\n"
    )
    assert opens("awskms:?profile=role")


def test_a_role_that_a_web_identity_gives(
    server: KMSServer, nobody: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a pod of EKS has it."""
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(nobody / "token"))
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", server.url)
    line = refused(lambda: wrapped(server.uri()), InvalidSettings)
    assert "cannot be read (No such file or directory): check AWS_WEB_IDENTITY_TOKEN_FILE" in line
    private(nobody / "token", SESSION_TOKEN)
    assert opens(server.uri())


def test_a_role_that_may_not_be_assumed(
    proxy: KMSProxy, server: KMSServer, nobody: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(private(nobody / "token", SESSION_TOKEN)))
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", proxy.url)
    proxy.fail(Refusal("AccessDenied", SESSION_TOKEN, as_xml=True), "AssumeRoleWithWebIdentity")
    line = refused(lambda: wrapped(server.uri()))
    assert "AWS refuses AssumeRoleWithWebIdentity (AccessDenied); check the role and whom it trusts" in line
    proxy.stop()
    line = refused(lambda: wrapped(server.uri()), KeyServiceUnavailable)
    assert line.startswith(f"{proxy.url}, asked to log in for KMS at {server.url}, cannot be reached (Conn")


def test_a_service_that_gives_roles_is_waited_for_no_longer(
    proxy: KMSProxy, server: KMSServer, nobody: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client is not ours: without a word it would wait for a minute, four times."""
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(private(nobody / "token", SESSION_TOKEN)))
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", proxy.url)
    monkeypatch.setattr("keyfs.master.aws_client.ANSWER_WITHIN_S", 0.3)
    proxy.fail(Hang())
    line = refused(lambda: wrapped(server.uri()), KeyServiceUnavailable)
    assert line.startswith(f"{proxy.url}, asked to log in for KMS at {server.url}, does not answer within")
    assert proxy.calls == {"AssumeRoleWithWebIdentity": 2}
    proxy.heal()
    assert opens(server.uri())


def test_a_program_that_gives_credentials_and_fails(server: KMSServer, nobody: Path) -> None:
    (nobody / "aws-config").write_text("[profile p]\ncredential_process = /bin/sh -c 'echo SECRET; exit 1'\n")
    line = refused(lambda: wrapped(server.uri(profile="p")), KeyServiceUnavailable)
    assert "cannot be fetched" in line
    assert "SECRET" not in line


def test_no_credentials_at_all(server: KMSServer, monkeypatch: pytest.MonkeyPatch) -> None:
    key = open_key(server.uri())
    assert "there are no AWS credentials for" in refused(lambda: key.unwrap(b"A" * 80), InvalidSettings)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID)
    assert "are incomplete" in refused(lambda: key.unwrap(b"A" * 80), InvalidSettings)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
    assert "does not open" in refused(lambda: key.unwrap(b"A" * 80)), "the same key looks again"


def test_no_region(aws: None) -> None:
    assert "no region of AWS is given: add region=" in refused(lambda: wrapped("awskms:"), InvalidSettings)


def test_credentials_that_were_renewed_are_taken_without_a_restart(
    proxy: KMSProxy, server: KMSServer, nobody: Path
) -> None:
    """The library would keep the old ones for as long as the client lives."""
    path = private(nobody / "kms.json", json.dumps(FILE | {"access_key_id": "AKIAOLD"}))
    key = open_key(proxy.uri(credentials=str(path)))
    text = wrapped(server.uri(credentials=str(path)))
    assert key.unwrap(text)
    proxy.fail(Refusal("ExpiredTokenException"), times=1)
    assert "token is expired" in refused(lambda: key.unwrap(text), MasterKeyUnavailable)
    path.write_text(json.dumps(FILE))
    assert key.unwrap(text).reveal() == CANARY
    assert ACCESS_KEY_ID in proxy.last_login


def profile(name: str, **more: str) -> str:
    values = {"aws_access_key_id": ACCESS_KEY_ID, "aws_secret_access_key": SECRET_ACCESS_KEY, **more}
    return "\n".join([f"[{name}]", *(f"{option} = {value}" for option, value in values.items()), ""])
