"""States, planned destructions and what is left of destroyed versions: in migrations and in backups."""

import json
from pathlib import Path

import pytest
from bundle_site import Site
from migration_site import Spot, asked, migrate, new_spot, opened
from two_layouts import filled, new_place, versions_in

from keyfs.broker.states import said_of
from keyfs.core.names import Half, parse_key_ref
from keyfs.core.own import OwnKind, OwnSpec
from keyfs.core.purposes import Purpose, Shape

LABEL = "storage-sym/alice"
ALICE = parse_key_ref(LABEL)
TOKEN = Purpose("token", Shape.OWN, own=OwnSpec(OwnKind.OPAQUE))
OWN = "token/www.example.org"
NOT_FOUND, SUSPENDED, COMPROMISED, DESTROYED = 4, 22, 23, 24
LAYOUTS = ("v1", "v2")
DAY_NS = 86_400 * 10**9
State = tuple[str, str, int | None]  # state, why, when it is to be destroyed
every_pair = pytest.mark.parametrize(("source", "target"), [(a, b) for a in LAYOUTS for b in LAYOUTS])


def ids(spot: Spot, label: str = LABEL) -> list[str]:
    """What the versions are called, oldest first; those that were destroyed left out."""
    with opened(spot, TOKEN) as (keys, _):
        versions = keys.ring(parse_key_ref(label, keys.layout.purposes)).versions
        return [version.id for version in versions if version.secret is not None]


def states(spot: Spot, label: str = LABEL) -> dict[bytes, State]:
    """What was said of each version, by its key."""
    with opened(spot, TOKEN) as (keys, _):
        ring = keys.ring(parse_key_ref(label, keys.layout.purposes))
        said = said_of(ring, keys.states.told(ring.ref))
        found = {}
        for version in ring.versions:
            state = keys.states.of(ring, version)
            if version.secret is not None and state.is_told:
                with keys.reader.open(ring.ref, version, Half.SECRET).material as material:
                    why = said[version.id].why if version.id in said else ""
                    found[material.reveal()] = (str(state.state), why, state.destroy_at_ns)
        return found


def set_states(spot: Spot) -> None:
    """Six versions: destroyed, compromised, suspended, to be destroyed, nothing said, suspended."""
    filled(spot.place, LABEL)
    with opened(spot) as (_, writer):
        for _ in range(3):
            writer.rotate(ALICE)
    first, second, third, fourth, *_ = ids(spot)
    for words in (
        ("destroy", f"{LABEL}/{first}", "--force", "--why", "it was time"),
        ("state", f"{LABEL}/{second}", "compromised", "--why", "lost in a train"),
        ("state", f"{LABEL}/{third}", "suspended"),
        ("destroy", f"{LABEL}/{fourth}", "--after", "30d", "--why", "old"),
        ("state", f"{LABEL}/current", "suspended", "--why", "until Monday"),
    ):
        ran = spot.run(*words)
        assert ran.code == 0, ran.err


def codes(spot: Spot) -> list[int]:
    return [spot.run("read", f"{LABEL}/{version}").code for version in ids(spot)]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Spot]:
    """By layout, a key store as `set_states` makes it. Nobody changes it: what migrates does not, either."""
    spots = {layout: new_spot(tmp_path_factory.mktemp(layout), "here", layout) for layout in LAYOUTS}
    for spot in spots.values():
        set_states(spot)
    return spots


@every_pair
def test_states_go_there_and_come_back(
    tmp_path: Path, told: dict[str, Spot], source: str, target: str
) -> None:
    here = told[source]
    wanted, before = states(here), here.fingerprint()
    assert sorted(state for state, _, _ in wanted.values()) == ["compromised", "suspended", "suspended"]
    there, back = new_spot(tmp_path, "there", target), new_spot(tmp_path, "back", source)
    for one, other in ((here, there), (there, back), (here, there)):
        ran = migrate(one, other)
        assert ran.code == 0, ran.err
        assert versions_in(other.place)[LABEL][-5:] == versions_in(here.place)[LABEL][-5:]
        assert states(other) == wanted
        assert codes(other) == codes(here) == [COMPROMISED, SUSPENDED, 0, 0, SUSPENDED]
    assert here.fingerprint() == before


@every_pair
def test_what_was_planned_is_planned_there(
    tmp_path: Path, told: dict[str, Spot], source: str, target: str
) -> None:
    here, there = told[source], new_spot(tmp_path, "there", target)
    assert migrate(here, there).code == 0
    planned = []
    for spot in (here, there):
        with opened(spot) as (keys, _):
            planned += [(record.destroy_at_ns, record.why) for _, record in keys.states.planned()]
    assert planned[0] == planned[1]
    assert len(planned) == 2
    label = f"{LABEL}/{ids(there)[2]}"
    assert there.run("destroy", label, "--undo").code == 0


@every_pair
def test_a_version_that_was_destroyed_is_known_to_be(
    tmp_path: Path, told: dict[str, Spot], source: str, target: str
) -> None:
    """By its number, or its stamp; and it keeps Acra from nothing that it could read before."""
    here, there = told[source], new_spot(tmp_path, "there", target)
    ran = migrate(here, there, "--json")
    with opened(there) as (keys, _):
        beside = {
            record.anchor.stamp for record in keys.states.told(ALICE) if str(record.state) == "destroyed"
        }
        in_ring = {v.number for v in keys.ring(ALICE).versions if v.secret is None}
    assert len(beside) == 1
    assert in_ring == ({"1"} if (source, target) == ("v2", "v2") else set())
    (name,) = beside
    assert there.run("read", f"{LABEL}/{name}").code == DESTROYED
    assert ("destroyed" in asked(ran)["notes"]) == (source != target)


@every_pair
def test_what_was_said_there_already_stays(tmp_path: Path, source: str, target: str) -> None:
    here, there = new_spot(tmp_path, "here", source), new_spot(tmp_path, "there", target)
    filled(here.place, LABEL)
    assert migrate(here, there).code == 0
    assert there.run("state", f"{LABEL}/current", "compromised").code == 0
    assert here.run("state", f"{LABEL}/current", "suspended").code == 0
    assert here.run("state", f"{LABEL}/{ids(here)[0]}", "suspended").code == 0
    assert migrate(here, there).code == 0
    assert sorted(state for state, _, _ in states(there).values()) == ["compromised", "suspended"]


@every_pair
def test_a_key_without_a_current_version_gets_none(tmp_path: Path, source: str, target: str) -> None:
    here, there = new_spot(tmp_path, "here", source), new_spot(tmp_path, "there", target)
    filled(here.place, LABEL, "storage/alice")
    for label in (LABEL, "storage/alice"):
        assert here.run("destroy", f"{label}/current", "--force").code == 0
    for _ in range(2):
        ran = migrate(here, there, "--json")
        assert ran.code == 0, ran.err
        assert asked(ran)["notes"]["no-current"]["of"] == [LABEL, "storage/alice"]
        with opened(there) as (keys, _):
            current = keys.ring(ALICE).current
            assert current is None or current.secret is None
        assert len(ids(there)) == len(ids(here)) == 2
    gone = (source, target) == ("v2", "v2")  # where the number of what was current is taken
    assert there.run("read", LABEL).code == (DESTROYED if gone else NOT_FOUND)
    ran = there.run("rotate" if gone else "generate", LABEL)
    assert ran.code == 0, ran.err
    assert versions_in(there.place)[LABEL][:2] == versions_in(here.place)[LABEL][:2]
    assert len(ids(there)) == 3


@every_pair
def test_a_key_of_which_all_was_destroyed_is_known_to_be(tmp_path: Path, source: str, target: str) -> None:
    here, there = new_spot(tmp_path, "here", source), new_spot(tmp_path, "there", target)
    filled(here.place, LABEL)
    for version in ids(here):
        assert here.run("destroy", f"{LABEL}/{version}", "--force").code == 0
    ran = migrate(here, there)
    assert ran.code == 0, ran.err
    with opened(here) as (one, _), opened(there) as (other, _):
        graves = [len(keys.states.told(ALICE)) for keys in (one, other)]
    assert graves[0] == graves[1] > 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_overdue_destruction_is_told_and_not_planned_anew(tmp_path: Path, layout: str) -> None:
    here, there = new_spot(tmp_path, "here", "v1"), new_spot(tmp_path, "there", layout)
    filled(here.place, LABEL)
    first, *_ = ids(here)
    assert here.run("destroy", f"{LABEL}/{first}", "--after", "1s").code == 0
    beside = here.root.with_name("here.keyfs") / "key-states.json"
    text = json.loads(beside.read_text())
    text["states"][0]["destroy_at_ns"] -= DAY_NS
    beside.write_text(json.dumps(text))
    report = asked(migrate(here, there, "--json"))
    assert report["notes"]["overdue"]["of"] == [f"{LABEL}/{first}"]
    with opened(there) as (keys, _):
        assert not list(keys.states.planned())
    assert len(ids(there)) == 3


@every_pair
def test_own_keys_have_states_too(tmp_path: Path, source: str, target: str) -> None:
    here, there = new_spot(tmp_path, "here", source), new_spot(tmp_path, "there", target)
    with opened(here, TOKEN) as (_, writer):
        for data in (b"first", b"second"):
            writer.import_material(parse_key_ref(OWN, [TOKEN]), data)
    (tmp_path / "keyfs.toml").write_text('[purpose.token]\nkind = "opaque"\n')
    words = ("--config", str(tmp_path / "keyfs.toml"))
    ran = here.run("state", *words, f"{OWN}/current", "suspended", "--why", "asked")
    assert ran.code == 0, ran.err
    ran = migrate(here, there, *words)
    assert ran.code == 0, ran.err
    assert states(there, OWN) == {b"second": ("suspended", "asked", None)}
    assert there.run("read", *words, OWN).code == SUSPENDED


@every_pair
def test_a_backup_restores_states_and_what_is_planned(
    tmp_path: Path, told: dict[str, Spot], source: str, target: str
) -> None:
    here = told[source]
    there = new_place(tmp_path, "there", target)
    site = Site(here.place, tmp_path / "keys.bundle")
    assert site.export().code == 0
    ran = site.verify("--store", here.place.uri)
    assert ran.code == 0, ran.err
    for _ in range(2):
        ran = site.at(there).restore()
        assert ran.code == 0, ran.err
        assert states(Spot(there)) == states(here)
        assert codes(Spot(there)) == codes(here)
