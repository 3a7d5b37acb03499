"""URIs of a KMS under test, and the access key that its clients have."""

from collections.abc import Mapping
from typing import Final

REGION: Final = "eu-west-1"
ACCESS_KEY_ID: Final = "AKIAKEYFSTESTEXAMPLE"
SECRET_ACCESS_KEY: Final = "keyfsTests/K7MDENG+bPxRfiCYEXAMPLEKEY000"  # noqa: S105 - of no account


def with_options(head: str, endpoint: str, options: Mapping[str, str]) -> str:
    """A URI with endpoint, region and what else is wanted; an empty value leaves an option out."""
    known = {"region": REGION, "endpoint": endpoint, **options}
    return head + "?" + "&".join(f"{name}={value}" for name, value in known.items() if value)
