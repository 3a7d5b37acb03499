"""Run as a file by `keyfs mount --supervised`: python -I -S __main__.py MOUNTPOINT SETTINGS."""

import sys
from pathlib import Path


def main() -> None:
    """Find the modules beside this file, and nothing else that lies there."""
    place = str(Path(__file__).resolve().parents[2])
    sys.path.append(place)  # behind the standard library
    from keyfs.supervisor.loop import run  # noqa: PLC0415 - only now it can be found

    sys.path.remove(place)
    sys.exit(run(sys.argv[2]))


if __name__ == "__main__":
    main()
