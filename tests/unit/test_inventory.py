"""The inventory's shapes: programs parse them, so they are fixed to the byte."""

import json

from hypothesis import given
from hypothesis import strategies as st

from keyfs.core.inventory import COLUMNS, Row, as_json, as_tsv

CREATED_NS = 1_795_488_385_574_915_812
ROWS = [
    Row(
        "storage",
        "alice",
        "2026-11-24T02:46:25.574915812",
        False,
        False,
        45,
        CREATED_NS,
        "deactivated",
        CREATED_NS,
    ),
    Row("storage", "alice", "current", True, True, 45, CREATED_NS, "active"),
    Row("audit-log", None, "current", True, False, 32, None, "compromised"),
]


def test_json_is_an_array_of_objects_with_these_keys_and_types() -> None:
    assert json.loads(as_json(ROWS)) == [
        {
            "purpose": "storage",
            "client": "alice",
            "version": "2026-11-24T02:46:25.574915812",
            "current": False,
            "size": 45,
            "created": "2026-11-24T02:46:25.574915Z",
            "public": False,
            "state": "deactivated",
            "destroy_at": "2026-11-24T02:46:25.574915Z",
        },
        {
            "purpose": "storage",
            "client": "alice",
            "version": "current",
            "current": True,
            "size": 45,
            "created": "2026-11-24T02:46:25.574915Z",
            "public": True,
            "state": "active",
            "destroy_at": None,
        },
        {
            "purpose": "audit-log",
            "client": None,
            "version": "current",
            "current": True,
            "size": 32,
            "created": None,
            "public": False,
            "state": "compromised",
            "destroy_at": None,
        },
    ]


def test_json_has_one_object_a_line_and_ends_in_a_newline() -> None:
    text = as_json(ROWS)
    assert text.endswith("]\n")
    assert len(text.splitlines()) == len(ROWS)


def test_nothing_is_an_empty_array() -> None:
    assert as_json([]) == "[]\n"


def test_tsv_has_a_header_and_a_line_for_each_row() -> None:
    assert as_tsv(ROWS) == (
        "purpose\tclient\tversion\tcurrent\tpublic\tsize\tcreated\tdestroy_at\tstate\n"
        "storage\talice\t2026-11-24T02:46:25.574915812\tno\tno\t45\t2026-11-24T02:46:25.574915Z"
        "\t2026-11-24T02:46:25.574915Z\tdeactivated\n"
        "storage\talice\tcurrent\tyes\tyes\t45\t2026-11-24T02:46:25.574915Z\t\tactive\n"
        "audit-log\t\tcurrent\tyes\tno\t32\t\t\tcompromised\n"
    )


def test_tsv_of_nothing_is_its_header() -> None:
    assert as_tsv([]) == "\t".join(COLUMNS) + "\n"


@given(st.text("abc_- Z9", min_size=5, max_size=20), st.booleans(), st.integers(0, 1 << 40))
def test_both_shapes_say_the_same(client: str, current: bool, size: int) -> None:
    row = Row("storage", client, "current", current, False, size, CREATED_NS)
    (found,) = json.loads(as_json([row]))
    cells = dict(zip(COLUMNS, as_tsv([row]).splitlines()[1].split("\t"), strict=True))
    assert (cells["client"], cells["current"], cells["size"]) == (
        found["client"],
        "yes" if found["current"] else "no",
        str(found["size"]),
    )
