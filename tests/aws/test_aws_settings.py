"""What follows `awskms:` and `awskms-per-client:`: keys, options, and what nobody is asked."""

import os
from pathlib import Path

import pytest
from kmses import refused

from keyfs.errors import InvalidSettings
from keyfs.master.aws_settings import CacheSettings, alias_of, parse_key_uri, parse_per_client_uri
from keyfs.master.registry import is_per_client, open_key, open_per_client, open_provider
from keyfs.testing.kms_uris import SECRET_ACCESS_KEY

ID = "1234abcd-12ab-34cd-56ef-1234567890ab"
ARN = f"arn:aws:kms:eu-central-1:123456789012:key/{ID}"


@pytest.mark.parametrize(
    ("rest", "key", "region"),
    [
        ("", "alias/acra_master_key", None),
        ("?region=us-east-1", "alias/acra_master_key", "us-east-1"),
        ("alias/a/b_c-D9", "alias/a/b_c-D9", None),
        ("alias%2Fa", "alias/a", None),
        ("alias/" + 250 * "x", "alias/" + 250 * "x", None),
        (ID, ID, None),
        ("mrk-" + 32 * "0", "mrk-" + 32 * "0", None),
        (ARN, ARN, "eu-central-1"),
        (f"{ARN}?region=eu-central-1", ARN, "eu-central-1"),
        ("arn:aws-cn:kms:cn-north-1:123456789012:alias/a", "arn:aws-cn:kms:cn-north-1:123456789012:alias/a",
         "cn-north-1"),
    ],
)  # fmt: skip  # a table
def test_keys_and_regions(rest: str, key: str, region: str | None) -> None:
    found, settings = parse_key_uri(rest)
    assert (found, settings.region) == (key, region)
    assert (settings.endpoint, settings.profile, settings.credentials, settings.context) == (None,) * 3 + (
        {},
    )


@pytest.mark.parametrize(
    "key",
    [
        "x", "acra_master_key", "alias/", "alias/a b", "alias/a:b", "alias/" + 251 * "x", "key/" + ID,
        ID[:-1], ID.upper(), "arn:aws:kms:eu-central-1:123456789012:key/x", "arn:aws:s3:::bucket",
        ARN + "/x", f"arn:aws:kms:eu-central-1:12:key/{ID}",
        "arn:aws:kms:eu-central-1:123456789012:alias/a b",
    ],
)  # fmt: skip  # as above
def test_what_is_no_key_is_refused(key: str) -> None:
    line = refused(lambda: open_key(f"awskms:{key}"), InvalidSettings)
    assert line.startswith("'awskms:' takes alias/NAME, the id of a key, or the ARN")


def test_every_option_arrives() -> None:
    _, settings = parse_key_uri(
        "?region=eu-west-1&endpoint=https://kms.example/&profile=p&context.store=a%20b&context.x.y=%C3%A9"
        "&from=env:X"
    )
    assert settings.endpoint == "https://kms.example"
    assert settings.profile == "p"
    assert settings.context == {"store": "a b", "x.y": "é"}


def test_a_relative_path_is_that_of_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_key_uri("?credentials=c.json")[1].credentials == os.fspath(tmp_path / "c.json")


@pytest.mark.parametrize("scheme", ["awskms:", "awskms-per-client:"])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (f"secret_access_key={SECRET_ACCESS_KEY}", "takes no 'secret_access_key' in its URI"),
        (f"access_key_id={SECRET_ACCESS_KEY}", "use credentials=PATH, or a profile"),
        (f"AWS_SESSION_TOKEN={SECRET_ACCESS_KEY}", "takes no 'session_token' in its URI"),
        (f"x={SECRET_ACCESS_KEY}", "has no option 'x'; known: "),
        ("region=", "needs the option 'region' once, with a value"),
        ("region=a&region=b", "needs the option 'region' once"),
        ("region=EU", "has a region such as eu-west-1"),
        ("region=a.b", "has a region such as eu-west-1"),
        ("profile=%0a", "a value of 'profile' that cannot be meant"),
        ("context.=x", "a value of 'context.' that cannot be meant"),
        ("credentials=a&profile=b", "not both"),
        ("endpoint=kms.example", "is a URL such as https://"),
        ("endpoint=ftp://kms.example", "is a URL such as https://"),
        ("endpoint=https://kms.example:99999", "is a URL such as https://"),
        ("endpoint=https://a%20b", "is a URL such as https://"),
        ("endpoint=https://u:p@kms.example", "has no user, password"),
        ("endpoint=https://kms.example/%3fx", "has no user, password, '?' or '#'"),
        ("endpoint=http://kms.example", "is https:// but on this machine: the network between here and "),
        ("endpoint=http://127.0.0.1.example", "is https:// but on this machine"),
        ("endpoint=http://10.0.0.1", "is https:// but on this machine"),
    ],
)  # fmt: skip  # as above
def test_an_option_that_does_not_fit_is_named_and_its_value_is_not(
    scheme: str, options: str, words: str
) -> None:
    opener = open_per_client if is_per_client(scheme) else open_key
    assert words in refused(lambda: opener(f"{scheme}?{options}"), InvalidSettings, handed_in=options)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:4566", "127.1.2.3", "[::1]:80"])
def test_http_is_for_this_machine(host: str) -> None:
    assert parse_key_uri(f"?endpoint=http://{host}")[1].endpoint == f"http://{host}"


def test_two_lines_are_refused() -> None:
    assert "line breaks" in refused(lambda: open_key("awskms:alias/a\n"), InvalidSettings)


def test_a_region_that_contradicts_the_arn_is_refused() -> None:
    line = refused(lambda: open_key(f"awskms:{ARN}?region=eu-west-1"), InvalidSettings)
    assert line == "the key is in region eu-central-1, but region= says another: leave it out"


def test_opening_asks_nobody_and_describes_itself() -> None:
    uri = "awskms:alias/a?endpoint=http://127.0.0.1:1&credentials=/no/file&from=store"
    assert open_key(uri).describe() == uri
    assert open_provider(uri, "v1").describe() == uri
    assert is_per_client("AWSKMS-per-client:")


# --- a key for each client ---


def test_without_options_keys_are_kept_for_a_while_and_none_is_made() -> None:
    settings, cache, may_create = parse_per_client_uri("")
    assert cache == CacheSettings(300.0, 1000, 3600.0)
    assert not may_create
    assert settings.context == {}


def test_the_options_of_a_key_for_each_client() -> None:
    _, cache, may_create = parse_per_client_uri("?cache_age=30s&cache_uses=7&stale=0s&create=yes")
    assert cache == CacheSettings(30.0, 7, 0.0)
    assert may_create
    assert parse_per_client_uri("?cache_age=2h&stale=1d")[1] == CacheSettings(7200.0, 1000, 86400.0)
    assert parse_per_client_uri("?cache_age=2m")[1].max_age_s == 120.0


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("alias/a", "names no key, each client has its own (alias/acra_CLIENT)"),
        ("?create=no", "has create=yes, or no such option"),
        ("?cache_age=5w", "has cache_age=TIME: '5w' is no time: write a number and s, m, h or d, as in 15m"),
        ("?cache_age=-1s", "has cache_age=TIME"),
        ("?stale=1.5h", "has stale=TIME"),
        ("?cache_uses=0", "has cache_uses=N"),
        ("?cache_uses=many", "has cache_uses=N"),
        ("?from=store", "has no option 'from'"),
    ],
)
def test_an_option_of_a_key_for_each_client_that_does_not_fit(rest: str, words: str) -> None:
    assert words in refused(lambda: open_per_client(f"awskms-per-client:{rest}"), InvalidSettings)


def test_options_of_one_scheme_are_none_of_the_other() -> None:
    assert "has no option 'create'" in refused(lambda: open_key("awskms:?create=yes"), InvalidSettings)


@pytest.mark.parametrize(
    ("name", "alias"),
    [
        ("acra_alice", "alias/acra_alice"),
        ("acra_" + 245 * "x", "alias/acra_" + 245 * "x"),
        ("acra_" + 246 * "x", None),
        ("acra_a b", None),
        ("acra_a\n", None),
        ("acra_é", None),
        ("", None),
    ],
)
def test_a_name_of_acra_is_an_alias_or_none(name: str, alias: str | None) -> None:
    assert alias_of(name) == alias
