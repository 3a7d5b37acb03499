"""The key store that most tests here have, and a mount of it; a file may have its own instead."""

from collections.abc import Iterator

import pytest
from kernel import Kernel, kernel_on

from keyfs.testing.builders import Keys, full_medium, in_memory, watched
from keyfs.testing.medium import Medium


@pytest.fixture
def medium() -> Medium:
    return full_medium()


@pytest.fixture
def keys(medium: Medium) -> Iterator[Keys]:
    with watched(medium) as keys:
        yield keys


@pytest.fixture
def outside(medium: Medium) -> Keys:
    """The same medium as another program has it."""
    outside = in_memory(medium)
    outside.clock.now_ns += 3600 * 10**9
    return outside


@pytest.fixture
def kernel(keys: Keys) -> Kernel:
    return kernel_on(keys)
