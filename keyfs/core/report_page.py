"""The report as one page of HTML: nothing of it comes from elsewhere, and nothing in it is a program.

Every text that comes from a key store goes through `escape`, so that no client id is ever markup.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from keyfs.core.inventory import Row
from keyfs.core.names import GLOBAL
from keyfs.core.report import DAY_NS, ROWS_MAX, Bin, Group, KeyFacts, Report
from keyfs.core.stamps import rfc3339
from keyfs.core.states import KeyState

# Bars are drawn in these units; the page scales them to its width.
_WIDTH: Final = 720
_ROW: Final = 30
_LABEL: Final = 130
_COUNT: Final = 90
_STYLE: Final = """
:root{color-scheme:light dark;--ground:#fff;--text:#1d2430;--quiet:#5b6675;--line:#dfe4ea;--card:#f6f8fa;
--bar:#2f6fbd;--late:#b3261e;--good:#1b7f4b}
@media (prefers-color-scheme:dark){:root{--ground:#14181f;--text:#e6eaf0;--quiet:#9aa6b5;--line:#2c3440;
--card:#1c222b;--bar:#6ba6f0;--late:#ff8a80;--good:#6fd3a0}}
*{box-sizing:border-box}
body{margin:0 auto;padding:2rem 1.25rem 4rem;max-width:60rem;background:var(--ground);color:var(--text);
font:16px/1.5 system-ui,sans-serif}
h1{margin:0;font-size:1.6rem}
h2{margin:2.5rem 0 .75rem;font-size:1.15rem}
p{margin:.25rem 0}
.quiet{color:var(--quiet)}
.place{overflow-wrap:anywhere}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(7rem,1fr));gap:.75rem;
margin:1.5rem 0 0;padding:0}
.tiles div{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.75rem 1rem}
.tiles dt{color:var(--quiet);font-size:.875rem}
.tiles dd{margin:0;font-size:1.6rem;font-weight:600;font-variant-numeric:tabular-nums}
.late{color:var(--late)}.good{color:var(--good)}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.9375rem}
th,td{padding:.4rem 1.25rem .4rem 0;text-align:left;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--quiet);font-weight:500}
th:first-child{width:45%}
td:first-child{min-width:11rem;overflow-wrap:anywhere;white-space:pre-wrap}
.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
th:last-child,td:last-child{padding-right:0}
time{white-space:nowrap}
svg{display:block;width:100%;height:auto;min-width:30rem;max-width:45rem}
svg text{fill:var(--text);font:14px system-ui,sans-serif}
svg .quiet{fill:var(--quiet)}
svg rect{fill:var(--bar)}
svg line{stroke:var(--line)}
@media(max-width:40rem){body{padding:1rem .75rem 2rem}table{font-size:.8125rem}th,td{padding-right:.6rem}
td:first-child{min-width:7rem}}
@media print{:root{color-scheme:light;--ground:#fff;--text:#000;--quiet:#444;--line:#bbb;--card:#fff;
--bar:#555;--late:#000;--good:#000}body{padding:0;max-width:none;font-size:11pt}h2{break-after:avoid}tr,svg{break-inside:avoid}
th,td{padding-top:.15rem;padding-bottom:.15rem}thead{display:table-header-group}
svg rect{print-color-adjust:exact}}
"""

_LATE: Final = ' class="late"'
_FRAME: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Keys in {store}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>Key inventory</h1>
<p class="place">{store} <span class="quiet">(layout {layout})</span></p>
<p class="quiet">as of {time}</p>
</header>
<main>
{parts}
</main>
</body>
</html>
"""


@dataclass(frozen=True, slots=True)
class Heading:
    """What the page says of itself."""

    store: str  # its URI, without passwords
    layout: str
    now_ns: int
    overdue: str  # what counts as overdue, in words


def page(report: Report, heading: Heading) -> str:
    """The whole page."""
    now_ns = heading.now_ns
    parts = (
        _tiles(report),
        "<h2>Age of the current versions</h2>",
        _histogram(report.ages),
        "<h2>Overdue keys</h2>",
        f'<p class="quiet">{escape(heading.overdue)}</p>',
        _overdue(report.overdue, now_ns),
        "<h2>Key states</h2>",
        _states(report.noted),
        "<h2>Purposes</h2>",
        _groups("purpose", report.purposes, now_ns),
        "<h2>Clients</h2>",
        _groups("client", report.clients_most, now_ns),
        "<h2>Last rotations</h2>",
        _rotations(report.rotations),
    )
    return _FRAME.format(
        store=escape(heading.store),
        style=_STYLE,
        layout=escape(heading.layout),
        time=_time(now_ns),
        parts="\n".join(parts),
    )


def _tiles(report: Report) -> str:
    late = len(report.overdue)
    tiles = (
        ("keys", report.keys, ""),
        ("versions", report.versions, ""),
        ("clients", report.clients, ""),
        ("overdue", late, _LATE if late else ' class="good"'),
    )
    cells = "".join(f"<div><dt>{name}</dt><dd{style}>{count:,}</dd></div>" for name, count, style in tiles)
    return f'<dl class="tiles">{cells}</dl>'


def _histogram(ages: Sequence[Bin]) -> str:
    most = max((one.keys for one in ages), default=0) or 1
    room = _WIDTH - _LABEL - _COUNT
    rows = []
    for number, one in enumerate(ages):
        top, length = number * _ROW, room * one.keys / most
        middle = top + _ROW * 2 // 3
        rows.append(
            f'<text class="quiet" x="{_LABEL - 10}" y="{middle}" text-anchor="end">{escape(one.label)}</text>'
            f'<rect x="{_LABEL}" y="{top + 5}" width="{length:.1f}" height="{_ROW - 10}" rx="2"/>'
            f'<text x="{_LABEL + length + 8:.1f}" y="{middle}">{one.keys:,}</text>'
        )
    height = _ROW * len(ages)
    said = ", ".join(f"{one.label}: {one.keys}" for one in ages)
    return (
        f'<div class="wide"><svg viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="{escape(f"keys by age; {said}")}">'
        f'<line x1="{_LABEL}" y1="0" x2="{_LABEL}" y2="{height}"/>{"".join(rows)}</svg></div>'
    )


def _overdue(keys: Sequence[KeyFacts], now_ns: int) -> str:
    if not keys:
        return '<p class="good">None.</p>'
    rows = (
        (_name(key), _number(key.versions), _since(key.since_ns), _number(_age(key.since_ns, now_ns)))
        for key in keys[:ROWS_MAX]
    )
    head = ("key", "#versions", "current since", "#age")
    return _table(head, rows) + _more(len(keys))


def _states(noted: Sequence[Row]) -> str:
    if not noted:
        return '<p class="good">As rotations leave them; nothing is to be destroyed.</p>'
    rows = (
        (
            escape(f"{row.purpose}/{GLOBAL if row.client is None else row.client}/{row.version}"),
            f"<td>{'current' if row.current else 'retired'}</td>",
            f"<td{_LATE if row.state == KeyState.COMPROMISED.value else ''}>{escape(row.state)}</td>",
            f"<td>{'' if row.destroy_at_ns is None else _time(row.destroy_at_ns)}</td>",
        )
        for row in noted[:ROWS_MAX]
    )
    return _table(("version", "", "state", "to be destroyed"), rows) + _more(len(noted))


def _groups(what: str, groups: Sequence[Group], now_ns: int) -> str:
    if not groups:
        return '<p class="quiet">None.</p>'
    rows = (
        (
            escape(group.name),
            _number(f"{group.keys:,}"),
            _number(f"{group.versions:,}"),
            _number(f"{group.overdue:,}", is_late=bool(group.overdue)),
            _number(_age(group.oldest_ns, now_ns)),
        )
        for group in groups[:ROWS_MAX]
    )
    return _table((what, "#keys", "#versions", "#overdue", "#oldest"), rows) + _more(len(groups))


def _rotations(rotations: Sequence[tuple[int, KeyFacts]]) -> str:
    if not rotations:
        return '<p class="quiet">None.</p>'
    return _table(("key", "when"), ((_name(key), f"<td>{_time(at_ns)}</td>") for at_ns, key in rotations))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a heading that begins with `#` is one of numbers. Cells are HTML; the first has no tag."""
    cells = "".join(
        f'<th class="number">{name[1:]}</th>' if name.startswith("#") else f"<th>{name}</th>" for name in head
    )
    body = "\n".join(f"<tr><td>{first}</td>{''.join(more)}</tr>" for first, *more in rows)
    return f'<div class="wide"><table><thead><tr>{cells}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def _more(count: int) -> str:
    if count <= ROWS_MAX:
        return ""
    return f'<p class="quiet">and {count - ROWS_MAX:,} more: see keyfs list.</p>'


def _name(key: KeyFacts) -> str:
    return escape(f"{key.purpose}/{GLOBAL if key.client is None else key.client}")


def _number(text: object, *, is_late: bool = False) -> str:
    return f'<td class="number{" late" if is_late else ""}">{text}</td>'


def _since(time_ns: int | None) -> str:
    return f"<td>{'unknown' if time_ns is None else _time(time_ns)}</td>"


def _time(time_ns: int) -> str:
    stamp = rfc3339(time_ns)
    return f'<time datetime="{stamp}">{stamp[:10]} {stamp[11:19]} UTC</time>'


def _age(since_ns: int | None, now_ns: int) -> str:
    if since_ns is None:
        return "unknown"
    days = max(0, now_ns - since_ns) // DAY_NS
    return f"{days:,} day{'' if days == 1 else 's'}"
