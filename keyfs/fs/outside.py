"""The process outside: touches files of a mount that its daemon must not touch itself.

Run as a program of its own, with nothing but the standard library and an empty environment. It takes one
request a line on stdin, a letter and a path in hexadecimal, and answers each with an errno, 0 for success:
`r` reads a file, `w` writes one byte to it, `t` touches the times.
"""

import os
import signal
import sys


def attempt(verb: str, path: bytes) -> int:
    """Do one request; the errno of what went wrong, or 0."""
    try:
        if verb == "t":
            os.utime(path)
            return 0
        fd = os.open(path, (os.O_WRONLY if verb == "w" else os.O_RDONLY) | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if verb == "w":
                os.write(fd, b"\0")
            else:
                os.read(fd, 1)
        finally:
            os.close(fd)
    except OSError as exc:
        return exc.errno or 1
    return 0


def main() -> None:
    """Until stdin ends, which it does with the daemon, whatever ends that."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for line in sys.stdin:
        os.write(1, b"%d\n" % attempt(line[0], bytes.fromhex(line[1:])))


if __name__ == "__main__":
    main()
