"""What the drills take from their matrices: less than all, and nothing left out that every run has to have."""

from __future__ import annotations

import itertools
import random

import pytest

from tests.drills import test_drill_crash as crashes
from tests.drills import test_drill_switch as switches
from tests.molecule import test_scenarios as scenarios

POINTS = {(crashes.crash.BEFORE, "intent"), *((crashes.crash.AFTER, name) for name in crashes.NAMES)}


@pytest.mark.parametrize("seed", range(5))
def test_a_sample_of_crashes_has_half_of_the_steps_and_every_pair_of_the_rest(seed: int) -> None:
    """Each of its steps once; agent and everything killed on each way."""
    sample = crashes.cases(whole=False, chosen=random.Random(seed))
    points = [(case.when, case.step) for case in sample]
    assert len(POINTS) // 2 == len(points) == len(POINTS.intersection(points))
    assert set(itertools.product(crashes.KILLED, crashes.WAYS)) == {(case.killed, case.way) for case in sample}


def test_samples_of_crashes_leave_no_step_out_for_ever() -> None:
    """Before the first step and after each: some seed takes it."""
    samples = (crashes.cases(whole=False, chosen=random.Random(seed)) for seed in range(50))
    assert {(case.when, case.step) for sample in samples for case in sample} == POINTS


def test_the_whole_matrix_of_crashes_is_their_product() -> None:
    """Each point with each of the rest, once."""
    every = crashes.cases(whole=True, chosen=random.Random(0))
    points = 1 + len(crashes.NAMES)
    assert points * len(crashes.KILLED) * len(crashes.WAYS) == len(every) == len(set(every))


@pytest.mark.parametrize("seed", range(5))
def test_a_round_trip_is_every_ordered_pair_once_end_to_end(seed: int) -> None:
    """So that no drill has to go back first."""
    trip = switches.round_trip(random.Random(seed).sample(switches.PLANS, 4))
    assert sorted(itertools.permutations(switches.PLANS, 2)) == sorted(trip)
    assert all(one[1] == other[0] for one, other in itertools.pairwise(trip))


def test_two_samples_of_scenarios_are_all_of_them() -> None:
    """Each with one of every role at least."""
    halves = [scenarios.sample(seed) for seed in (6, 7)]
    assert sorted(scenarios.SCENARIOS) == sorted(halves[0] + halves[1])
    roles = {name.rpartition("_")[0] for name in scenarios.SCENARIOS}
    assert [roles, roles] == [{name.rpartition("_")[0] for name in half} for half in halves]
