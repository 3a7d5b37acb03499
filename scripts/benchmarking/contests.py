"""All contests, by name."""

from benchmarking import budget, cold, hot, listing, rotation, scale, starting

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
USUAL = tuple(contest.name for contest in _ALL)
BY_NAME = {contest.name: contest for contest in (*_ALL, budget.CONTEST)}
