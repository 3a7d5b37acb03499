"""All contests, by name."""

from benchmarking import cold, hot, listing, rotation, scale, starting

_ALL = (
    hot.CONTEST,
    cold.CONTEST,
    listing.CONTEST,
    rotation.CONTEST,
    starting.MOUNT,
    scale.INDEX,
    starting.START,
    scale.GROWTH,
)
BY_NAME = {contest.name: contest for contest in _ALL}
USUAL = tuple(BY_NAME)
