"""Measures keyfs beside its rivals, in turns within one run, and prints ratios with their limits.

Only ratios of the same round are worth comparing: what the machine does meanwhile hits all alike. Everything
lies on tmpfs, except where fsync is a part of what is measured.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarking import contests, publication, report, rivals
from benchmarking.contest import Contest, Outcome, hold
from benchmarking.figures import Spread
from benchmarking.programs import KEYFS, TMPFS, BenchError, mounted, obey_signals, on_terminate, run
from benchmarking.reading import read_once
from benchmarking.workshop import WHERE, Effort, Workshop

# What the other bench programs here use, too.
__all__ = ["KEYFS", "TMPFS", "BenchError", "Spread", "mounted", "on_terminate", "read_once", "run"]


def say(line: str) -> None:
    """Tells whoever waits how far it is."""
    print(f"bench: {line}", file=sys.stderr, flush=True)


def measure(chosen: Sequence[Contest], effort: Effort) -> report.Report:
    """Holds the contests one after the other."""
    outcomes: list[Outcome] = []
    say(WHERE)
    with Workshop(effort) as workshop:
        for contest in chosen:
            outcomes.append(hold(contest, workshop, say))
            for result in outcomes[-1].results:
                if result.failed:
                    say(f"{contest.name}: {result.reason}")
    return report.report(outcomes, effort, **rivals.versions())


def parse_arguments() -> argparse.Namespace:
    """What to measure, how much, and where to write it."""
    parser = argparse.ArgumentParser(prog="bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("contests", nargs="*", metavar="CONTEST", help=f"of: {', '.join(contests.BY_NAME)}")
    parser.add_argument(
        "--quick", action="store_true", help="two rounds with few keys: shows that it runs, no more"
    )
    parser.add_argument("--rounds", type=int, help="for all contests alike")
    parser.add_argument("--reads", type=int, help="repetitions in one round, for all contests alike")
    parser.add_argument("--output", type=Path, default=Path("bench.json"), help="the plot goes beside it")
    parser.add_argument(
        "--readme", action="store_true", help="write table and plot into this repository's README"
    )
    parser.add_argument("--from", dest="source", type=Path, metavar="JSON", help="measure nothing, show this")
    given = parser.parse_args()
    if unknown := set(given.contests) - set(contests.BY_NAME):
        parser.error(f"there is no contest {', '.join(sorted(unknown))}")
    if any(number is not None and number < 1 for number in (given.rounds, given.reads)):
        parser.error("--rounds and --reads must be at least 1")
    return given


def main() -> None:
    """Measures, writes the figures and prints them."""
    obey_signals()
    given = parse_arguments()
    effort = Effort(given.quick, given.rounds, given.reads)
    chosen = [contests.BY_NAME[name] for name in given.contests or contests.USUAL]
    try:
        found = measure(chosen, effort) if given.source is None else publication.load(given.source)
        written = publication.write(found, given.output)
        if given.readme:
            publication.publish(found, written, set(contests.USUAL))
    except BenchError as exc:
        sys.exit(f"bench: {exc}")
    print(report.figure_tables(found), end="\n\n")
    print(report.ratio_table(found), end="\n\n")
    if report.is_quick(found):
        print("a quick run: it shows that everything works; its ratios mean nothing\n")
    print(f"all figures: {' '.join(map(str, written))}")
    if report.has_failed(found):
        sys.exit("bench: not everything could be measured")


if __name__ == "__main__":
    main()
