"""How a mount shows its keys: the rules of the configuration file, and `--views`."""

import os
from collections.abc import Callable

import click
from click.core import ParameterSource

from keyfs.cli.options import settings_again
from keyfs.config import DEFAULT_PATH
from keyfs.core.policy import Ownership, Policy
from keyfs.core.purposes import PURPOSES
from keyfs.core.views import parse_views
from keyfs.errors import InvalidSettings
from keyfs.rules import Mounted, policy_of

views_option = click.option(
    "--views",
    envvar="KEYFS_VIEWS",
    metavar="VIEW,…",
    default="none",
    show_default=True,
    help="Show keys in other forms, too: b64, hex, pem, fp, or all.",
)


def policy_source(views: str, *, allow_other: bool) -> Callable[[], Policy]:
    """What reads the rules, each time anew; also the views, where the configuration file has them.

    It raises InvalidSettings, in one line, for what cannot be: an unknown user, a mode open to the world.
    """
    ctx = click.get_current_context()
    settings, path = settings_again(ctx)
    is_of_file = ctx.get_parameter_source("views") in (ParameterSource.DEFAULT_MAP, ParameterSource.DEFAULT)
    owner = Ownership(os.getuid(), os.getgid())

    def policy() -> Policy:
        said = settings()
        known = parse_views(said.views or "" if is_of_file else views)
        purposes = tuple(purpose.name for purpose in (*PURPOSES, *said.own_purposes()))
        try:
            return policy_of(said.rules(), known, Mounted(owner, allow_other, purposes))
        except InvalidSettings as exc:
            raise InvalidSettings(f"{path or DEFAULT_PATH}: {exc}") from exc

    return policy
