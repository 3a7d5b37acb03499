"""The servers, one of each for all tests, empty at the beginning of each. A plug-in: nobody imports it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from kmses import forget_machine

from keyfs.testing.kms_proxy import KMSProxy, kms_proxy
from keyfs.testing.kms_servers import KMSServer, ministack_server, moto_server


@pytest.fixture(scope="session")
def running_moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KMSServer]:
    with moto_server(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="session")
def running_ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KMSServer]:
    with ministack_server(tmp_path_factory.mktemp("ministack")) as server:
        yield server


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forget_machine(monkeypatch, tmp_path)


@pytest.fixture
def moto(running_moto: KMSServer, aws: None) -> KMSServer:
    running_moto.forget()
    return running_moto


@pytest.fixture
def ministack(running_ministack: KMSServer, aws: None) -> KMSServer:
    running_ministack.forget()
    return running_ministack


@pytest.fixture(params=["moto", "ministack"])
def kms(request: pytest.FixtureRequest) -> KMSServer:
    server: KMSServer = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def proxy(moto: KMSServer) -> Iterator[KMSProxy]:
    with kms_proxy(moto.port) as proxy:
        yield proxy
