"""nginx and PostgreSQL serve TLS with a key from the mount, and take its next version on reload."""

import os
import signal
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from consuming_site import Site, site
from presented import bundle, presented
from rooms import KEYS, PLACE, Room, room

from keyfs.testing.certificates import SERVER_NAME, Authority
from keyfs.testing.needed import lacking, need
from keyfs.testing.redis_servers import free_port
from keyfs.testing.waiting import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="servers that change their user need root")
SSL_REQUEST = bytes.fromhex("0000000804d2162f")  # what PostgreSQL wants to hear before TLS
NGINX = """
daemon off;
pid nginx.pid;
error_log stderr;
worker_processes 1;
events {{}}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    server {{
        listen unix:{socket} ssl;
        ssl_certificate {key};
        ssl_certificate_key {key};
        return 200 "served\\n";
    }}
}}
"""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory, fuse_required: None) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("tls")) as made:
        yield made


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@contextmanager
def running(start: Callable[[], "subprocess.Popen[bytes]"], stop: signal.Signals) -> Iterator[int]:
    """A server, ended by the signal it knows; its process number."""
    process = start()
    try:
        yield process.pid
    finally:
        process.send_signal(stop)
        code = process.wait(20)
    assert code == 0


def is_answering(connect: Callable[[], socket.socket]) -> bool:
    try:
        connect().close()
    except OSError:
        return False
    return True


# --- nginx ---


def test_nginx_serves_the_next_version_after_a_reload(
    keys: Site, authority: Authority, tmp_path: Path
) -> None:
    need("nginx", "curl")
    first, second = bundle(authority, "first"), bundle(authority, "second")
    current = keys.make("tls/web", first.pem)
    (tmp_path / "nginx.conf").write_text(NGINX.format(socket=tmp_path / "s", key=current))
    nginx = ("nginx", "-p", tmp_path, "-e", "stderr", "-c", "nginx.conf")
    checked = subprocess.run([*nginx, "-t"], capture_output=True, text=True, check=False)
    assert "test is successful" in checked.stderr

    def connect() -> socket.socket:
        with ExitStack() as stack:
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(str(tmp_path / "s"))
            stack.pop_all()
        return client

    with (
        (tmp_path / "log").open("wb") as log,
        running(lambda: subprocess.Popen(nginx, stdout=log, stderr=log), signal.SIGQUIT) as pid,
    ):
        wait_until(lambda: is_answering(connect))
        assert presented(connect, authority.ca) == first.certificate
        current.write_bytes(second.pem)
        assert presented(connect, authority.ca) == first.certificate  # nginx keeps what it has read
        os.kill(pid, signal.SIGHUP)
        wait_until(lambda: presented(connect, authority.ca) == second.certificate)
        words = ("curl", "--silent", "--cacert", authority.ca, "--unix-socket", tmp_path / "s")
        asked = subprocess.run([*words, f"https://{SERVER_NAME}/"], capture_output=True, check=True)
        assert asked.stdout == b"served\n"
    said = (tmp_path / "log").read_text()
    assert "[emerg]" not in said
    assert "[error]" not in said


# --- PostgreSQL ---


@contextmanager
def postgres(inside: Room, key: Path, port: int, log: Path) -> Iterator[int]:
    """A new cluster that takes certificate and key from the mount."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        lacking("PostgreSQL is not installed")
    (inside.place / "pg").mkdir()
    assert inside.run("chown", "postgres:", PLACE / "pg").returncode == 0
    made = inside.run(
        found[-1].with_name("initdb"), "-D", PLACE / "pg", "--auth=trust", "--no-sync", user="postgres"
    )
    assert made.returncode == 0, made.stderr
    settings = {
        "port": port,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": PLACE / "pg",
        "fsync": "off",
        "ssl": "on",
        "ssl_cert_file": key,
        "ssl_key_file": key,
    }
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    words = [str(found[-1]), "-D", str(PLACE / "pg"), *options]
    with (
        log.open("wb") as said,
        running(lambda: inside.start(*words, user="postgres", log=said), signal.SIGINT) as pid,
    ):
        yield pid


def asked_for_tls(port: int) -> socket.socket:
    """A connection on which TLS begins next."""
    client = socket.create_connection(("127.0.0.1", port), timeout=10)
    client.sendall(SSL_REQUEST)
    if client.recv(1) != b"S":
        client.close()
        raise ConnectionRefusedError("it does not want TLS")
    return client


@pytest.mark.parametrize(
    ("client", "shown"), [("db", ("postgres", "root", 0o600)), ("db-group", ("root", "postgres", 0o640))]
)
def test_postgresql_presents_the_next_version_after_a_reload(
    keys: Site, authority: Authority, tmp_path: Path, client: str, shown: tuple[str, str, int]
) -> None:
    """It takes a key that is its own and closed, or root's and open to its group; nothing else."""
    first, second = bundle(authority, "first"), bundle(authority, "second")
    current = keys.make(f"tls/{client}", first.pem)
    assert (current.owner(), current.group(), stat.S_IMODE(current.stat().st_mode)) == shown
    port = free_port()

    def connect() -> socket.socket:
        return asked_for_tls(port)

    key = KEYS / "tls" / client / "current"
    with room(keys.live.mountpoint) as inside, postgres(inside, key, port, tmp_path / "log"):
        wait_until(lambda: is_answering(connect))
        assert presented(connect, authority.ca) == first.certificate
        current.write_bytes(second.pem)
        assert (current.owner(), current.group(), stat.S_IMODE(current.stat().st_mode)) == shown
        assert presented(connect, authority.ca) == first.certificate
        (inside.place / "ca.pem").write_bytes(authority.ca.read_bytes())
        asked = inside.run(
            "psql",
            f"host=127.0.0.1 port={port} user=postgres sslmode=verify-full sslrootcert={PLACE}/ca.pem",
            "--no-psqlrc",
            "--tuples-only",
            "--no-align",
            "--command=select ssl, pg_reload_conf() from pg_stat_ssl where pid = pg_backend_pid()",
            user="postgres",
        )
        assert (asked.stdout, asked.stderr) == ("t|t\n", "")
        wait_until(lambda: presented(connect, authority.ca) == second.certificate)
    assert "could not load" not in (tmp_path / "log").read_text()
