"""A real mount does what the model says, call after call, whatever several processes do to it at once."""

from collections.abc import Iterator

import pytest
from fuzz_open_files import Fuzz
from fuzz_site import FuzzSite, fuzz_site
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from keyfs.testing.mounted import run_keyfs

SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much]


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory, fuse_required: None) -> Iterator[FuzzSite]:
    with fuzz_site(tmp_path_factory.mktemp("fuzz")) as site:
        yield site
        assert site.once("listdir", ".")
        checked = run_keyfs("check", environment=site.live.environment)
        assert checked.returncode == 0, checked.stdout.decode()


def run(site: FuzzSite, examples: int, steps: int) -> None:
    machine = type("Machine", (Fuzz,), {"site": site})
    limits = settings(max_examples=examples, stateful_step_count=steps, suppress_health_check=SLOW)
    run_state_machine_as_test(machine, settings=limits)


def test_a_mount_does_what_the_model_says(site: FuzzSite) -> None:
    run(site, examples=10, steps=50)
    assert site.steps > 200


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_a_mount_does_what_the_model_says_for_ten_thousand_steps(site: FuzzSite) -> None:
    while site.steps < 10_000:
        run(site, examples=50, steps=60)
