"""The least that one key in Redis costs: GET on a socket, the answer waited for, the Secure Cell opened."""

import base64
import socket
from collections.abc import Callable
from pathlib import Path

import hiredis

from keyfs.core.secret import Secret
from keyfs.seal.registry import open_sealer
from keyfs.store.redis_replies import get_command

RECEIVE_SIZE = 1 << 16


def reading_from(server: str, master_key: Path) -> Callable[[str], bytes]:
    """Reads the key of a client of `storage-sym` from the Redis at this socket."""
    sealer = open_sealer(Secret(base64.b64decode(master_key.read_text())))
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(server)
    replies = hiredis.Reader()

    def read(client: str) -> bytes:
        connection.sendall(get_command(f"ks/{client}_storage_sym".encode()))
        while (value := replies.gets()) is False:
            replies.feed(connection.recv(RECEIVE_SIZE))
        return sealer.unseal(base64.b64decode(value), client.encode()).reveal()

    return read
