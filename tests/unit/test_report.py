"""The report: its figures follow from the inventory, and its page shows them and nothing else."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyfs.core.inventory import Row, as_csv
from keyfs.core.report import DAY_NS, OLDER, ROWS_MAX, UNKNOWN, Report, report
from keyfs.core.report_page import Heading, page
from keyfs.core.rotation import RotationPolicy, RotationRule

NOW_NS = 1_795_521_600_000_000_000  # 2026-11-24T12:00:00
POLICY = RotationPolicy(RotationRule(every_ns=90 * DAY_NS))
HEADING = Heading("dir:/keys", "v1", NOW_NS, "not rotated for 90d")
AWKWARD = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a&b", "'", "{store}", "</style>"]
VOID = {"meta", "img", "br", "hr", "link", "input"}


def key(purpose: str, client: str | None, *days: float | None) -> list[Row]:
    """The rows of one key, with so many days since each version became current, oldest first."""
    ids = [f"2026-01-{number + 1:02d}T00:00:00" for number in range(len(days) - 1)] + ["current"]
    ages = [None if age is None else NOW_NS - int(age * DAY_NS) for age in days]
    halves = (False, True) if purpose == "storage" else (False,)
    return [
        Row(purpose, client, label, label == "current", is_public, 45, age)
        for label, age in zip(ids, ages, strict=True)
        for is_public in halves
    ]


ROWS = [
    *key("storage", "alice", 400, 100, 95),
    *key("storage", "bobby", 3),
    *key("storage-sym", "alice", None),
    *key("audit-log", None, 800, 20),
]


class Page(HTMLParser):
    """What a browser would see: tags in order, that they are closed in order, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_figures_follow_from_the_inventory() -> None:
    found = report(ROWS, POLICY, NOW_NS)
    assert (found.keys, found.versions, found.clients) == (4, 7, 2)
    assert [(late.purpose, late.client) for late in found.overdue] == [
        ("storage-sym", "alice"),
        ("storage", "alice"),
    ]
    assert {one.label: one.keys for one in found.ages if one.keys} == {
        "up to 7 days": 1,
        "8 to 30 days": 1,
        "91 to 182 days": 1,
        UNKNOWN: 1,
    }
    assert [(group.name, group.keys, group.versions, group.overdue) for group in found.purposes] == [
        ("storage", 2, 4, 1),
        ("storage-sym", 1, 1, 1),
        ("audit-log", 1, 2, 0),
    ]
    assert [(group.name, group.keys, group.overdue) for group in found.clients_most] == [
        ("alice", 2, 2),
        ("bobby", 1, 0),
    ]
    assert [(NOW_NS - at_ns) // DAY_NS for at_ns, _ in found.rotations] == [20, 95, 100]


@pytest.mark.parametrize(
    ("days", "label"), [(0, "up to 7 days"), (7, "up to 7 days"), (7.01, "8 to 30 days"), (731, OLDER)]
)
def test_an_age_falls_into_one_bin(days: float, label: str) -> None:
    found = report(key("audit-log", None, days), POLICY, NOW_NS)
    assert [one.label for one in found.ages if one.keys] == [label]


def test_a_key_from_the_future_is_new() -> None:
    """A host's clock may be wrong."""
    found = report(key("audit-log", None, -3), POLICY, NOW_NS)
    assert found.ages[0].keys == 1
    assert "0 days" in page(found, HEADING)


def test_a_history_without_a_current_version_is_no_key() -> None:
    rows = [row for row in ROWS if not (row.client == "bobby" and row.current)]
    assert report(rows, POLICY, NOW_NS).keys == 3


def test_what_is_overdue_depends_on_the_purpose() -> None:
    policy = RotationPolicy(of_purpose={"audit-log": RotationRule(every_ns=DAY_NS)})
    assert [late.purpose for late in report(ROWS, policy, NOW_NS).overdue] == ["audit-log"]


def test_what_somebody_said_of_a_version_is_shown() -> None:
    """Once for both halves; not what every rotation leaves."""
    first, _, retired, *_, current = key("storage", "alice", 400, 100, 95)
    usual = [replace(retired, state="deactivated"), replace(current, state="active")]
    assert report(usual, POLICY, NOW_NS).noted == ()
    assert "nothing is to be destroyed" in page(report(usual, POLICY, NOW_NS), HEADING)
    rows = [
        *(replace(first, public=half, state="compromised") for half in (False, True)),
        replace(retired, state="deactivated", destroy_at_ns=NOW_NS + DAY_NS),
        *key("storage-sym", "bobby", 3),
        replace(current, purpose="hmac-sym", state="deactivated"),
    ]
    noted = report(rows, POLICY, NOW_NS).noted
    assert [(row.purpose, row.version, row.state) for row in noted] == [
        ("storage", first.version, "compromised"),
        ("storage", retired.version, "deactivated"),
        ("hmac-sym", "current", "deactivated"),
    ]
    shown = page(report(rows, POLICY, NOW_NS), HEADING)
    assert f"<td>storage/alice/{first.version}</td><td>retired</td>" in shown
    assert '<td class="late">compromised</td>' in shown
    assert "2026-11-25 12:00:00 UTC" in shown


@pytest.mark.parametrize("text", AWKWARD)
def test_no_name_is_ever_markup(text: str) -> None:
    rows = [*key("storage", text, 400, 100), *key(text, "alice", 2)]
    rows += [replace(row, state=text, version=text) for row in rows]
    shown = page(report(rows, POLICY, NOW_NS), Heading(text, text, NOW_NS, text))
    parsed = Page(shown)
    assert {tag for tag, _ in parsed.tags} <= {tag for tag, _ in Page(page(EMPTY, HEADING)).tags} | {
        "table"
    } | {*("thead", "tbody", "tr", "th", "td", "span", "time")}
    assert not [name for _, attributes in parsed.tags for name in attributes if name.startswith("on")]
    assert f"storage/{text}" in "".join(parsed.text)


EMPTY = report([], POLICY, NOW_NS)


@pytest.mark.parametrize("rows", [[], ROWS], ids=["empty", "some"])
def test_the_page_stands_alone(rows: list[Row]) -> None:
    """Nothing is fetched, nothing is run; both schemes and paper are thought of."""
    shown = page(report(rows, POLICY, NOW_NS), HEADING)
    tags = Page(shown).tags
    names = {tag for tag, _ in tags}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "form", "a", "base"}
    assert not {name for _, attributes in tags for name in attributes} & {"src", "href", "srcset", "style"}
    assert not re.search(r"url\(|@import|https?:", shown)
    assert "default-src 'none'" in shown
    for wanted in ("prefers-color-scheme:dark", "@media print", "color-scheme:light dark"):
        assert wanted in shown
    assert shown.startswith("<!DOCTYPE html>\n<html lang=")


def test_the_histogram_is_a_drawing_to_scale() -> None:
    shown = page(report(ROWS, POLICY, NOW_NS), HEADING)
    drawing = ET.fromstring(re.findall(r"<svg.*?</svg>", shown, re.DOTALL)[0])
    widths = [float(bar.attrib["width"]) for bar in drawing.iter("rect")]
    counts = [one.keys for one in report(ROWS, POLICY, NOW_NS).ages]
    assert widths == [count * max(widths) for count in counts]


def test_a_large_store_is_cut_where_nobody_reads_on() -> None:
    rows = [row for number in range(ROWS_MAX + 7) for row in key("storage-sym", f"client{number}", 100)]
    shown = page(report(rows, POLICY, NOW_NS), HEADING)
    assert shown.count("and 7 more: see keyfs list.") == 2
    assert len(shown) < 1_000_000


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["storage", "hmac-sym"]),
            st.text(min_size=1, max_size=8),
            st.lists(st.none() | st.floats(-10, 5000), min_size=1, max_size=4),
        ),
        max_size=8,
        unique_by=lambda one: one[:2],
    )
)
def test_whatever_there_is_makes_a_page(keys: list[tuple[str, str, list[float | None]]]) -> None:
    rows = [row for purpose, client, days in keys for row in key(purpose, client, *days)]
    found: Report = report(rows, POLICY, NOW_NS)
    assert found.keys == sum(one.keys for one in found.ages) == sum(one.keys for one in found.purposes)
    Page(page(found, HEADING))


def test_a_csv_is_quoted_where_it_has_to_be() -> None:
    rows = key("storage-sym", 'a "b", c', 0)
    assert as_csv(rows).splitlines(keepends=True) == [
        "purpose,client,version,current,public,size,created,destroy_at,state\r\n",
        'storage-sym,"a ""b"", c",current,yes,no,45,2026-11-24T12:00:00.000000Z,,\r\n',
    ]
