"""The `keyfs` command: finds the sub-command, turns errors into one line and an exit code."""

import gc
import importlib
import os
import signal
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Final, NoReturn

import click

from keyfs.cli.exitcodes import BUG, EXIT_CODES, INTERRUPTED, USAGE
from keyfs.errors import KeyfsError

ARGUMENTS: Final = "keyfs.arguments"  # in click's `Context.meta`: all words of the command line
# Imported only when called: `keyfs list` must not pay for trio and pyfuse3. For the same reason each one's
# words in `keyfs --help` stand here, too.
_COMMANDS: Final = {
    "archive": ("keyfs.cli.archive:archive", "Versions that were taken out of the store."),
    "check": ("keyfs.cli.check:check", "Is the key store whole?"),
    "copy": ("keyfs.cli.copy:copy", "Copy a key store to another place."),
    "destroy": ("keyfs.cli.destroy:destroy", "Remove one version for good, now or later."),
    "doctor": ("keyfs.cli.doctor:doctor", "What is installed, what is missing."),
    "export": ("keyfs.cli.export:export", "Back up keys into a sealed bundle."),
    "generate": ("keyfs.cli.keys:generate", "Make the first version of a key."),
    "guard": ("keyfs.cli.guard:guard_mountpoint", "Let nobody write where keyfs is not mounted."),
    "import": ("keyfs.cli.importing:import_keys", "Restore keys from a bundle."),
    "init": ("keyfs.cli.keys:init", "Make a new, empty key store."),
    "list": ("keyfs.cli.listing:list_keys", "Show the keys there are."),
    "master-key": ("keyfs.cli.master:master_key", "Make, wrap and try a master key."),
    "migrate": ("keyfs.cli.migrate:migrate_keys", "Bring a key store into another layout or place."),
    "mount": ("keyfs.cli.mount:mount", "Mount a key store."),
    "read": ("keyfs.cli.keys:read", "Write a key's bytes to stdout."),
    "reload": ("keyfs.cli.reload:reload", "New program and settings for a supervised mount."),
    "rekey": ("keyfs.cli.rekey:rekey", "Change the master key, without stopping."),
    "report": ("keyfs.cli.report:report", "One page about all keys, for a browser."),
    "rotate": ("keyfs.cli.rotate:rotate", "Make the next version of a key, or of all old ones."),
    "state": ("keyfs.cli.state:state", "Show or set the state of a version."),
    "status": ("keyfs.cli.status:status", "The keyfs mounts there are."),
    "umount": ("keyfs.cli.mount:umount", "End a mount."),
    "verify": ("keyfs.cli.verify:verify", "Can this bundle be restored?"),
    "wait": ("keyfs.cli.wait:wait", "Wait until a file of a mount can be opened."),
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
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        command = getattr(_imported(module), name)
        assert isinstance(command, click.Command)  # noqa: S101 - the table above is ours
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name][1]) for name in self.list_commands(ctx)])


def _imported(module: str) -> ModuleType:
    """A module. The collector finds nothing in what is being imported, and takes a sixth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        return importlib.import_module(module)
    finally:
        if was_on:
            gc.enable()


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="keyfs", message="%(prog)s %(version)s")
def cli() -> None:
    """An Acra key store mounted as files: reads decrypt, writes rotate."""


def run() -> NoReturn:
    """Entry point: run the command line and exit with a code of `keyfs.cli.exitcodes`."""
    # A reader that closes early (`keyfs list | head`) ends us silently, as it ends any other tool.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    leave(exit_code(sys.argv[1:]))


def leave(code: int) -> NoReturn:
    """End this process now. The interpreter would free piece by piece what the kernel drops at once."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # a full disk: what was printed is not all there
        code = code or BUG
    os._exit(code)


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
