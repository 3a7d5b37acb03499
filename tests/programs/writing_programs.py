"""Programs that write files, and what each does to a key: the table that the tests prove and README shows."""

from dataclasses import dataclass
from typing import Final

from typing_programs import Keys

_INSTALLED: Final = ("vim", "nano", "openssl", "rsync", "ssh-keygen")  # beside what every Debian has
SIZED: Final = "storage-sym"  # keys of 32 bytes
OPAQUE: Final = "opaque"  # an own purpose: any bytes
SAVED: Final = "MODIFY CLOSE_WRITE"


@dataclass(frozen=True, slots=True)
class Program:
    """One way to write to `current`.

    The script runs in the key's directory. `$NEW` is a file with the new bytes and `$PLACE` an empty folder,
    both outside the mount.
    """

    name: str  # as README shows it
    script: str
    versions: int = 1  # how many it makes
    file: str = SAVED  # what a watcher of `current` is told, ATTRIB left out, equal ones in a row as one
    directory: str = SAVED  # what a watcher of the directory is told of the name `current`, likewise
    or_else: str = ""  # that watcher, when what keyfs itself does comes a moment earlier
    keys: tuple[Keys, ...] = ()  # typed at a terminal; {new} stands for the new bytes
    fails: str = ""  # what it says when it must fail
    is_random: bool = False  # it makes its bytes itself
    is_appended: bool = False  # the new bytes come after the old ones
    only: str = ""  # of the two purposes, the one it is for
    prepare: str = ""  # makes the file `$PLACE/old` with the first version

    def is_for(self, purpose: str) -> bool:
        """Whether it writes keys of this purpose."""
        return self.only in ("", purpose)

    @property
    def needs(self) -> str:
        """The program that must be there."""
        return self.script.split()[0] if self.script.split()[0] in _INSTALLED else "bash"


def _python(*lines: str) -> str:
    head = ("import os", 'new = open(os.environ["NEW"], "rb").read()')
    return '"$PYTHON" -c \'' + "\n".join((*head, *lines)) + "'"


# vim leaves no backup where it takes a folder for a temporary one: tests live in such a folder, keys do not.
_VIM: Final = "vim -c 'set backupskip= {}' current"
_IN_VIM: Final = (Keys("old", ":%s/.*/{new}/|wq\r"),)
_IN_NANO: Final = (Keys("old", "\x0b{new}\x0f"), Keys("Name to Write", "\r"), Keys("Wrote", "\x18"))
_REPLACED: Final = "DELETE CREATE MODIFY CLOSE_WRITE"
_MOVED: Final = f"MOVED_TO {SAVED}"

PROGRAMS: Final = (
    Program("bash `>`", 'printf %s "$(<"$NEW")" > current'),
    Program("bash `{ a; b; } >`", '{ cat "$NEW"; echo; } > current'),
    Program("`tee`", 'tee current < "$NEW" > "$PLACE/out"'),
    Program("`cp`", 'cp "$NEW" current'),
    Program("`cp -p`", 'cp -p "$NEW" current'),
    Program("`cp --remove-destination`", 'cp --remove-destination "$NEW" current', directory=_REPLACED),
    Program("`mv` in the directory", 'cp "$NEW" .new && mv .new current', directory=_MOVED),
    Program("`mv` from elsewhere", 'cp "$NEW" "$PLACE/new" && mv "$PLACE/new" current', directory=_REPLACED),
    Program("`install -m 600`", 'install -m 600 "$NEW" current', directory=_REPLACED),
    Program("`install`", 'install "$NEW" current', directory=_REPLACED),
    Program("`rm`, then `cp`", 'rm current && cp "$NEW" current', directory="DELETE MODIFY CLOSE_WRITE"),
    Program("`sed -i`", 'sed -i "s/.*/$(<"$NEW")/" current', directory=_MOVED),
    Program("vim", _VIM.format(""), keys=_IN_VIM),
    Program(
        "vim, `backupcopy=no`",
        _VIM.format("backupcopy=no"),
        keys=_IN_VIM,
        file=f"MOVE_SELF {SAVED}",
        directory=f"MOVED_FROM CREATE {SAVED}",
    ),
    Program("vim, `backupcopy=yes`", _VIM.format("backupcopy=yes"), keys=_IN_VIM),
    Program("nano", "nano current", keys=_IN_NANO),
    Program("Python `open(…, 'w')`", _python('open("current", "wb").write(new)')),
    Program(
        "Python, a new file and `os.replace`",
        _python('with open("tmp", "wb") as f: f.write(new)', 'os.replace("tmp", "current")'),
        directory=_MOVED,
    ),
    Program(
        "Python, `os.replace` before `close`",
        _python(
            'with open("tmp", "wb") as f:',
            "    f.write(new)",
            "    f.flush()",
            '    os.replace("tmp", "current")',
        ),
        directory=f"MOVED_TO CLOSE_WRITE {SAVED}",
        or_else=_MOVED,
    ),
    Program("`openssl rand -out`", "openssl rand -out current 32", is_random=True),
    Program(
        "`openssl genpkey -out`",
        "openssl genpkey -algorithm ED25519 -out current",
        is_random=True,
        only=OPAQUE,
    ),
    Program(
        "`ssh-keygen -p`",
        "ssh-keygen -q -p -P '' -N phrase -f current",
        is_random=True,
        only=OPAQUE,
        prepare="ssh-keygen -q -t ed25519 -N '' -f \"$PLACE/old\"",
    ),
    Program("`dd conv=fsync`", 'dd if="$NEW" of=current bs=16 conv=fsync status=none'),
    Program("rsync", 'rsync "$NEW" current', directory=_MOVED),
    Program("`rsync --inplace`", 'rsync --inplace "$NEW" current'),
    Program("`cp`, the same bytes", 'cp current "$PLACE/same" && cp "$PLACE/same" current', versions=0),
    Program("`>>`, a newline, 32 bytes", "echo >> current", versions=0, only=SIZED),
    Program(
        "`>>`, other bytes, 32 bytes",
        'cat "$NEW" >> current',
        versions=0,
        file="CLOSE_WRITE",
        directory="CLOSE_WRITE",
        fails="Invalid argument",
        only=SIZED,
    ),
    Program("`>>`, any size", 'cat "$NEW" >> current', is_appended=True, only=OPAQUE),
    Program("`: >`", ": > current", versions=0),
    Program("`truncate -s 0`", "truncate -s 0 current", versions=0),
    Program("`touch`", "touch current", versions=0, file="CLOSE_WRITE", directory="CLOSE_WRITE"),
    Program("`rm`", "rm current", versions=0, file="", directory="DELETE"),
)


def readme_table() -> str:
    """The table as README has it."""
    rows = [(p.name, str(p.versions), _in_words(p.file), _in_words(p.directory)) for p in PROGRAMS]
    head = "| program | versions | who watches the file is told | who watches the directory is told of it |"
    return "\n".join((head, "| --- | --- | --- | --- |", *(f"| {' | '.join(row)} |" for row in rows), ""))


def _in_words(transcript: str) -> str:
    return transcript.replace(SAVED, "saved").lower().replace(" ", ", ") or "nothing"
