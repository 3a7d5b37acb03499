"""The program that a supervisor starts: `keyfs mount` once more, on a mount that is there."""

import signal
import socket
import sys

import click

from keyfs.cli.main import exit_code, leave
from keyfs.cli.supervised import adopt_variables
from keyfs.custody import Estate, forbid_core_dumps
from keyfs.fs.takeover import Takeover


def main() -> None:
    """See `keyfs.supervisor.workers` for the words of the command line."""
    role, way, channel, estate, mountpoint, *arguments = sys.argv[1:]
    # The supervisor stops us, by SIGTERM or over the channel; a terminal means the supervisor.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    forbid_core_dumps()
    inherited = Estate.inherited(int(estate))
    takeover = Takeover(role, _channel(int(channel)), mountpoint, inherited, is_read_only=way == "ro")
    adopt_variables(takeover.estate)

    def tell(line: str) -> None:
        click.echo(line, err=True)
        takeover.failed(line.removeprefix("keyfs: "))

    code = exit_code(arguments, takeover, tell)
    leave(code)  # waiting for nothing: a thread may wait for what only the next worker answers


def _channel(number: int) -> socket.socket:
    channel = socket.socket(fileno=number)
    channel.set_inheritable(False)
    return channel


if __name__ == "__main__":
    main()
