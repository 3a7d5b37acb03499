"""What the fuzz test chooses from: few names and few values, so that steps meet each other."""

import os
from typing import Final

from fuzz_model import KEY_SIZE
from hypothesis import strategies as st

CURRENT: Final = "current"
NAMES: Final = ("x", ".swp")
PLACES: Final = ("storage-sym/{}one", "hmac-sym/{}two")
NOREPLACE: Final = 1
places = st.integers(0, len(PLACES) - 1)
names = st.sampled_from(NAMES)
picks = st.integers(0, 1 << 16)
# Mostly keys, of few different values, so that the same bytes come again.
keys = st.sampled_from([bytes([fill]) * KEY_SIZE for fill in b"abc"])
contents = st.one_of(
    keys,
    keys,
    keys.map(lambda key: key + b"\n"),
    st.sampled_from([b"", b"short", b"x" * (KEY_SIZE + 1), b"y" * 5000]),
)
READ_UP_TO: Final = 8192
OPEN_MAX: Final = 12
# Most often the one opened last: what matters is what is done to one file after the other.
opens = st.sampled_from([0, 0, 0, 1, 2, 5])
actors = st.sampled_from((1, 2))
pieces = st.one_of(keys, st.binary(max_size=KEY_SIZE))
offsets = st.sampled_from([0, 0, 0, 0, 1, 16, KEY_SIZE, KEY_SIZE + 1, 4096, 1 << 20, 1 << 62])
sizes = st.sampled_from([0, 0, 1, 16, KEY_SIZE, KEY_SIZE + 1, 4096, (1 << 20) + 1, 1 << 62])
modes = st.sampled_from([os.O_RDONLY, os.O_WRONLY, os.O_RDWR])
more_flags = st.sampled_from([0, 0, os.O_TRUNC, os.O_CREAT, os.O_CREAT | os.O_TRUNC, os.O_CREAT | os.O_EXCL])
