"""The least that one key in Redis costs: GET on a socket, the answer waited for, the Secure Cell opened."""

import base64
import socket
from collections.abc import Callable

import hiredis

from keyfs.seal.base import Sealer
from keyfs.store.redis_replies import get_command

RECEIVE_SIZE = 1 << 16


def reading_from(server: str, sealer: Sealer) -> Callable[[str], bytes]:
    """Reads the key of a client of `storage-sym` from the Redis at this socket."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(server)
    replies = hiredis.Reader()

    def read(client: str) -> bytes:
        connection.sendall(get_command(f"ks/{client}_storage_sym".encode()))
        while (value := replies.gets()) is False:
            replies.feed(connection.recv(RECEIVE_SIZE))
        return sealer.unseal(base64.b64decode(value), client.encode()).reveal()

    return read
