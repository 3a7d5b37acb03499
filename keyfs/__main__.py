"""`python -m keyfs` is the `keyfs` command."""

from keyfs.cli.main import run

run()
