"""What pyfuse3 says of its answers to the kernel: only what somebody should know reaches the log."""

import errno
import logging
import os

import pytest

from keyfs.fs.replies import is_about_wanted_answer

TEXT = "fuse_release(): fuse_reply_* failed with %s"


@pytest.mark.parametrize(
    ("text", "args", "is_kept"),
    [
        (TEXT, (os.strerror(errno.ENOENT),), False),  # the mount has ended meanwhile
        (TEXT, (os.strerror(errno.EINVAL),), True),
        ("something else: %s", (os.strerror(errno.ENOENT),), True),
        (os.strerror(errno.ENOENT), (), True),
    ],
)
def test_an_answer_that_nobody_waits_for_is_no_error(
    caplog: pytest.LogCaptureFixture, text: str, args: tuple[str, ...], is_kept: bool
) -> None:
    logger = logging.getLogger("pyfuse3")
    logger.addFilter(is_about_wanted_answer)
    try:
        logger.error(text, *args)
    finally:
        logger.removeFilter(is_about_wanted_answer)
    assert bool(caplog.records) == is_kept
