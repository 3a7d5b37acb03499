"""The `keyfs` command: finds the sub-command, turns errors into one line and an exit code."""

import importlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Final

import click

from keyfs.cli.exitcodes import BUG, EXIT_CODES, INTERRUPTED, USAGE
from keyfs.errors import KeyfsError

ARGUMENTS: Final = "keyfs.arguments"  # in click's `Context.meta`: all words of the command line
# Imported only when called: `keyfs list` must not pay for trio and pyfuse3.
_COMMANDS: Final = {
    "check": "keyfs.cli.check:check",
    "copy": "keyfs.cli.copy:copy",
    "destroy": "keyfs.cli.keys:destroy",
    "doctor": "keyfs.cli.doctor:doctor",
    "generate": "keyfs.cli.keys:generate",
    "guard": "keyfs.cli.guard:guard_mountpoint",
    "init": "keyfs.cli.keys:init",
    "list": "keyfs.cli.listing:list_keys",
    "master-key": "keyfs.cli.master:master_key",
    "mount": "keyfs.cli.mount:mount",
    "read": "keyfs.cli.keys:read",
    "reload": "keyfs.cli.reload:reload",
    "rekey": "keyfs.cli.rekey:rekey",
    "rotate": "keyfs.cli.keys:rotate",
    "status": "keyfs.cli.status:status",
    "umount": "keyfs.cli.mount:umount",
    "wait": "keyfs.cli.wait:wait",
}


def _echo(line: str) -> None:
    click.echo(line, err=True)


class _LazyGroup(click.Group):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[ARGUMENTS] = tuple(args)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        where = _COMMANDS.get(cmd_name)
        if where is None:
            return None
        module, _, name = where.partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)  # noqa: S101 - the table above is ours
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="keyfs", message="%(prog)s %(version)s")
def cli() -> None:
    """An Acra key store mounted as files: reads decrypt, writes rotate."""


def run() -> None:
    """Entry point: run the command line and exit with a code of `keyfs.cli.exitcodes`."""
    # A reader that closes early (`keyfs list | head`) ends us silently, as it ends any other tool.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(exit_code(sys.argv[1:]))


def exit_code(arguments: list[str], obj: object = None, tell: Callable[[str], None] = _echo) -> int:
    """Run one command; what went wrong is on stderr as one line that says what to do.

    Args:
        arguments: behind the name of the program.
        obj: what the command may find with `click.Context.find_object`.
        tell: gets that line.
    """
    return report_errors(lambda: cli.main(arguments, prog_name="keyfs", standalone_mode=False, obj=obj), tell)


def report_errors(work: Callable[[], object], tell: Callable[[str], None] = _echo) -> int:
    """The exit code of *work*: its result if that is a number, else 0, or what its error stands for."""
    try:
        result = work()
    except click.exceptions.NoArgsIsHelpError as exc:
        click.echo(exc.format_message(), err=True)
        return USAGE
    except click.ClickException as exc:
        return _fail(tell, f"{exc.format_message()} (see keyfs --help)", USAGE)
    except (click.Abort, KeyboardInterrupt):
        return _fail(tell, "interrupted", INTERRUPTED)
    except KeyfsError as exc:
        return _fail(tell, str(exc), EXIT_CODES[type(exc)])
    except Exception as exc:
        if os.environ.get("KEYFS_DEBUG"):
            raise
        return _fail(
            tell,
            f"internal error {type(exc).__name__}: set KEYFS_DEBUG=1 and run it again to see where",
            BUG,
        )
    return result if isinstance(result, int) else 0


def _fail(tell: Callable[[str], None], message: str, code: int) -> int:
    tell(f"keyfs: {' '.join(message.split())}")
    return code
