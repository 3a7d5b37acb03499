"""The process that makes the calls of the conformance table, each in a child of its own.

So no call sees what keyfs remembers of the process before it, and none can take the test with it.
A line of standard input is a call, a directory, a name in it and a user; the answer is one line.
"""

import errno
import json
import os
import signal
import sys
from typing import Final

import content_calls
import name_calls

CALLS: Final = {**content_calls.CALLS, **name_calls.CALLS}
WITHIN_S: Final = 15


def outcome(call: str, directory: str, name: str, uid: int) -> str:
    """What the call came to, as the table has it."""
    os.chdir(directory)
    if uid:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    try:
        result = CALLS[call](name)
    except OSError as exc:
        return errno.errorcode[exc.errno or 0]
    except ValueError as exc:  # Python's own refusal: an empty file cannot be mapped
        return type(exc).__name__
    if isinstance(result, bool):
        return "yes" if result else "no"
    return "ok" if result is None else str(result)


def in_a_child(call: str, directory: str, name: str, uid: int) -> str:
    """As `outcome`; or which signal ended the child."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(WITHIN_S)
        os.write(writer, outcome(call, directory, name, uid).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        said = answer.read().decode()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return said if code == 0 else f"exit {code}"


def main() -> None:
    for line in sys.stdin:
        sys.stdout.write(in_a_child(*json.loads(line)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
