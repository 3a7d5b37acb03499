"""What follows `scheme:` in a master key URI: a name, and `?option=value&…` behind it."""

from collections.abc import Collection
from urllib.parse import parse_qsl, unquote

from keyfs.errors import InvalidSettings


def split_options(
    scheme: str, rest: str, known: Collection[str], prefixes: tuple[str, ...] = ()
) -> tuple[str, dict[str, str]]:
    """The name before `?` and the options behind it; both percent-decoded.

    Args:
        scheme: for the error.
        rest: what follows `scheme:`.
        known: the options there are.
        prefixes: an option that begins with one of these is known, too (`context.`).

    Raises:
        InvalidSettings: an option is unknown, stands twice or has no value. Values are never repeated: one
            may be a secret that stands in the wrong place.
    """
    name, mark, query = rest.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True) if mark else []
    options: dict[str, str] = {}
    for option, value in pairs:
        if option not in known and not option.startswith(prefixes or ("\0",)):
            listed = ", ".join(sorted({*known, *(f"{prefix}NAME" for prefix in prefixes)}))
            raise InvalidSettings(f"'{scheme}:' has no option {option[:40]!r}; known: {listed}")
        if option in options or not value:
            raise InvalidSettings(f"'{scheme}:' needs the option {option!r} once, with a value")
        options[option] = value
    return unquote(name), options
