"""The way in for `keyfs reload`: a socket that answers one client at a time."""

import contextlib
import json
import os
import socket
import struct
from typing import Final

_PEER: Final = struct.Struct("iII")  # pid, uid, gid
_BUSY: Final = {"code": 19, "line": "another reload is under way: try again"}


class Control:
    """Listens under a name in the abstract namespace, which leaves no file behind."""

    def __init__(self, name: str) -> None:
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(f"\0{name}")
        self.listener.listen(4)
        self.client: socket.socket | None = None  # who waits for an answer

    def accept(self) -> socket.socket | None:
        """Take a client; None for one that may not ask, or not now."""
        client, _ = self.listener.accept()
        credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        if _PEER.unpack(credentials)[1] not in (0, os.getuid()):
            client.close()
            return None
        if self.client is not None:
            _send(client, _BUSY)
            return None
        self.client = client
        return client

    def answer(self, code: int, line: str) -> None:
        """Tell the client how it ended, if there is one."""
        if self.client is not None:
            _send(self.client, {"code": code, "line": line})
            self.client = None


def _send(client: socket.socket, answer: dict[str, object]) -> None:
    with contextlib.suppress(OSError), client:
        client.send(json.dumps(answer).encode())
