"""What a provider says when it refuses."""

import traceback

import pytest

from keyfs.errors import KeyfsError, MasterKeyUnavailable
from keyfs.master.registry import open_provider
from keyfs.testing.master_contract import assert_no_secret


def refusal(uri: str, error: type[KeyfsError] = MasterKeyUnavailable, layout: str = "v1") -> str:
    """The one line with which *uri* is refused. No part of a key stands in it, or in its traceback."""
    with pytest.raises(error) as caught:
        open_provider(uri, layout).fetch()
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    assert_no_secret("".join(traceback.format_exception(caught.value, chain=True)))
    return str(caught.value)
