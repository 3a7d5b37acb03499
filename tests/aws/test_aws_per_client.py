"""A KMS key for each client: Acra's names, blobs that go both ways, and what does not open or may not be."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from kmses import refused

from keyfs.core.label import Label
from keyfs.core.secret import Secret
from keyfs.errors import (
    InvalidMaterial,
    KeyfsError,
    KeyServiceUnavailable,
    MasterKeyUnavailable,
    OperationRefused,
    UnsealFailed,
)
from keyfs.master.aws_per_client import AwsPerClient
from keyfs.master.registry import open_per_client
from keyfs.seal.protection import Protection
from keyfs.testing import canary
from keyfs.testing.kms_proxy import KMSProxy, Refusal
from keyfs.testing.kms_servers import KMSServer
from keyfs.testing.master_contract import CANARY

pytest_plugins = ["aws_fixtures"]
NAMES = ["acra_alice", "acra_poison", "acra_audit_log"]


def opened(uri: str) -> AwsPerClient:
    protection = open_per_client(uri)
    assert isinstance(protection, AwsPerClient)
    return protection


def label(name: str) -> Label:
    return Label(b"the context of a Secure Cell, which is nothing to a KMS", name)


ALICE = label("acra_alice")


def test_it_is_a_protection(aws: None) -> None:
    protection: Protection = opened("awskms-per-client:?region=eu-west-1&cache_uses=3")
    assert protection.engine == "awskms"
    assert not protection.is_local
    found = opened("awskms-per-client:?region=eu-west-1&cache_uses=3")
    assert found.describe() == "awskms-per-client:?region=eu-west-1&cache_uses=3"
    assert (found.cache.max_age_s, found.cache.max_uses, found.cache.stale_s) == (300.0, 3, 3600.0)


@pytest.mark.parametrize("name", NAMES)
def test_blobs_of_others_open(kms: KMSServer, name: str) -> None:
    """Made as Acra makes them: under `alias/` and Acra's name, without a context."""
    kms.make(f"alias/{name}")
    blob = kms.client().encrypt(KeyId=f"alias/{name}", Plaintext=CANARY)["CiphertextBlob"]
    assert opened(kms.per_client()).unseal(blob, label(name)).reveal() == CANARY


@pytest.mark.parametrize("name", NAMES)
def test_others_open_blobs_of_keyfs(kms: KMSServer, name: str) -> None:
    kms.make(f"alias/{name}")
    blob = opened(kms.per_client()).seal(Secret(CANARY), label(name))
    answer = kms.client().decrypt(KeyId=f"alias/{name}", CiphertextBlob=blob)
    assert answer["Plaintext"] == CANARY


def test_a_context_is_bound_in_only_when_it_is_wanted(kms: KMSServer) -> None:
    kms.make("alias/acra_alice")
    plain, bound = opened(kms.per_client()), opened(kms.per_client(**{"context.store": "a"}))
    blob = bound.seal(Secret(CANARY), ALICE)
    assert bound.unseal(blob, ALICE).reveal() == CANARY
    does_not_open(plain, blob)
    does_not_open(bound, plain.seal(Secret(CANARY), ALICE))


# --- what does not open ---


def does_not_open(protection: AwsPerClient, blob: bytes, where: Label = ALICE) -> None:
    line = refused(lambda: protection.unseal(blob, where), UnsealFailed)
    assert line == f"the blob does not open with alias/{where.key_name}: wrong key, wrong context or damage"


def test_what_was_changed_or_is_another_clients_does_not_open(moto: KMSServer) -> None:
    """At moto; ministack opens some of these, to something else."""
    moto.make("alias/acra_alice")
    moto.make("alias/acra_bob")
    protection = opened(moto.per_client())
    blob = protection.seal(Secret(CANARY), ALICE)
    does_not_open(protection, blob, label("acra_bob"))
    for at in (0, 36, 60, len(blob) - 1):
        does_not_open(protection, blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :])
    does_not_open(protection, blob[:-1])
    does_not_open(protection, blob + b"\0")


@pytest.mark.parametrize("blob", [b"", b"x" * 28, b"x" * 6145])
def test_what_no_kms_could_have_made_is_asked_of_nobody(aws: None, blob: bytes) -> None:
    does_not_open(opened("awskms-per-client:?region=eu-west-1&endpoint=http://127.0.0.1:1"), blob)


@pytest.mark.parametrize("size", [29, 6144])
def test_what_a_kms_could_have_made_is_asked(proxy: KMSProxy, moto: KMSServer, size: int) -> None:
    moto.make("alias/acra_alice")
    does_not_open(opened(proxy.per_client()), b"\xff" * size)
    assert proxy.calls == {"Decrypt": 1}


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (Refusal("InvalidCiphertextException"), UnsealFailed, "does not open with alias/acra_alice"),
        (Refusal("IncorrectKeyException"), UnsealFailed, "does not open with alias/acra_alice"),
        (Refusal("AccessDeniedException", "not authorized"), MasterKeyUnavailable, "may not kms:Decrypt"),
        (Refusal("DisabledException"), MasterKeyUnavailable, "alias/acra_alice in KMS at"),
        (Refusal("ThrottlingException"), KeyServiceUnavailable, "limits the rate"),
        (Refusal("KMSInternalException", status=500), KeyServiceUnavailable, "try again later"),
    ],
    ids=["invalid", "incorrect", "denied", "disabled", "throttled", "broken"],
)
def test_an_outage_is_no_damage(
    proxy: KMSProxy, moto: KMSServer, fault: Refusal, kind: type[KeyfsError], words: str
) -> None:
    moto.make("alias/acra_alice")
    protection = opened(proxy.per_client())
    blob = protection.seal(Secret(CANARY), ALICE)
    proxy.fail(fault, "Decrypt")
    assert words in refused(lambda: protection.unseal(blob, ALICE), kind)
    proxy.heal()
    assert protection.unseal(blob, ALICE).reveal() == CANARY


# --- what may not be sealed ---


def test_a_key_that_has_none_in_kms(aws: None) -> None:
    protection = opened("awskms-per-client:?region=eu-west-1&endpoint=http://127.0.0.1:1")
    for act in (
        lambda: protection.seal(Secret(CANARY), label("")),
        lambda: protection.unseal(b"", label("")),
    ):
        assert "has no key in a KMS: Acra keeps none" in refused(act, OperationRefused)


@pytest.mark.parametrize("name", ["acra_a b", "acra_" + 250 * "x"])
def test_a_client_whose_name_aws_does_not_take(aws: None, name: str) -> None:
    protection = opened("awskms-per-client:?region=eu-west-1&endpoint=http://127.0.0.1:1&create=yes")
    line = refused(lambda: protection.seal(Secret(CANARY), label(name)), OperationRefused)
    assert line.startswith(f"no key in AWS KMS can be called '{name}': an alias has letters, digits")
    assert line == refused(lambda: protection.unseal(b"x" * 80, label(name)), OperationRefused)


@pytest.mark.parametrize("size", [0, 4097])
def test_what_kms_does_not_take(aws: None, size: int) -> None:
    protection = opened("awskms-per-client:?region=eu-west-1&endpoint=http://127.0.0.1:1")
    line = refused(lambda: protection.seal(Secret(bytes(size)), ALICE), InvalidMaterial)
    assert line == f"a key that KMS seals has 1 to 4096 bytes, not {size}"


@pytest.mark.parametrize("size", [1, 4096])
def test_the_least_and_the_most_that_kms_takes(kms: KMSServer, size: int) -> None:
    kms.make("alias/acra_alice")
    protection = opened(kms.per_client())
    assert protection.unseal(protection.seal(Secret(b"x" * size), ALICE), ALICE).reveal() == b"x" * size


# --- keys that are not there ---


def test_no_key_is_made_without_being_told(proxy: KMSProxy, moto: KMSServer) -> None:
    moto.make("alias/acra_bob")
    protection = opened(proxy.per_client())
    expected = f"there is no alias/acra_alice in KMS at {proxy.url}; there are: alias/acra_bob"
    assert refused(lambda: protection.seal(Secret(CANARY), ALICE)) == expected
    blob = protection.seal(Secret(CANARY), label("acra_bob"))
    assert refused(lambda: protection.unseal(blob, ALICE)) == expected
    assert proxy.calls["CreateKey"] == 0


def test_a_missing_key_is_made_when_told(kms: KMSServer) -> None:
    protection = opened(kms.per_client(create="yes"))
    blob = protection.seal(Secret(CANARY), ALICE)
    again = protection.seal(Secret(CANARY), ALICE)
    assert len(kms.client().list_keys()["Keys"]) == 1
    answer = kms.client().decrypt(KeyId="alias/acra_alice", CiphertextBlob=blob)
    assert answer["Plaintext"] == CANARY
    assert opened(kms.per_client()).unseal(again, ALICE).reveal() == CANARY


def test_opening_makes_no_key(proxy: KMSProxy) -> None:
    protection = opened(proxy.per_client(create="yes"))
    assert "there is no alias/acra_alice in" in refused(lambda: protection.unseal(b"\xff" * 80, ALICE))
    assert proxy.calls["CreateKey"] == 0


def test_a_key_that_somebody_makes_meanwhile_is_used(proxy: KMSProxy, moto: KMSServer) -> None:
    proxy.fail(Refusal("NotFoundException"), "Encrypt", times=2)
    moto.make("alias/acra_alice")
    protection = opened(proxy.per_client(create="yes"))
    blob = protection.seal(Secret(CANARY), ALICE)
    assert protection.unseal(blob, ALICE).reveal() == CANARY
    assert (proxy.calls["CreateKey"], proxy.calls["ScheduleKeyDeletion"]) == (1, 1)


# --- threads ---


def test_threads_share_one_client_and_make_one_key(proxy: KMSProxy, moto: KMSServer) -> None:
    protection = opened(proxy.per_client(create="yes"))
    all_there = threading.Barrier(8)

    def work(number: int) -> bool:
        all_there.wait(10)
        name = label(f"acra_{number % 2}")
        return all(
            protection.unseal(protection.seal(Secret(CANARY), name), name).reveal() == CANARY
            for _ in range(5)
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    assert proxy.calls["CreateKey"] == 2
    assert proxy.calls["Decrypt"] == 40
    assert proxy.calls["ListAliases"] == 0, "a call that works asks nothing else"


def test_a_login_may_be_made_anew_while_others_ask(proxy: KMSProxy, moto: KMSServer) -> None:
    moto.make("alias/acra_alice")
    protection = opened(proxy.per_client())
    blob = protection.seal(Secret(CANARY), ALICE)

    def work(number: int) -> bool:
        if number == 0:
            for _ in range(20):
                protection.renew()
            return True
        return all(protection.unseal(blob, ALICE).reveal() == CANARY for _ in range(10))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


def test_copies_are_the_callers_own(moto: KMSServer) -> None:
    moto.make("alias/acra_alice")
    protection = opened(moto.per_client())
    blob = protection.seal(Secret(CANARY), ALICE)
    first, second = protection.unseal(blob, ALICE), protection.unseal(blob, ALICE)
    first.wipe()
    assert second.reveal() == CANARY


def test_a_refused_key_leaves_no_trace(proxy: KMSProxy) -> None:
    proxy.fail(Refusal("AccessDeniedException", "no"), "Encrypt")
    protection = opened(proxy.per_client())
    with pytest.raises(MasterKeyUnavailable) as caught:
        protection.seal(Secret(canary.SYMMETRIC), ALICE)
    assert not canary.found_in(f"{caught.value!r}")
