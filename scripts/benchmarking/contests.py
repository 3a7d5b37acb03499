"""All contests, by name."""

from benchmarking import hot

BY_NAME = {contest.name: contest for contest in (hot.CONTEST,)}
USUAL = ("hot",)
