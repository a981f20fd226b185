"""The one-standard-error rule on planted tables, against the rule said slowly."""

from itertools import product

import numpy as np
import pytest

from manyheads.report.choice import choose, pareto
from manyheads.report.stats import mean, standard_error


def seeds(*values):
    return dict(enumerate(values, 1))


COST = {"dense": seeds(10, 10, 10), "linear": seeds(1, 1, 1), "window": seeds(5, 5, 5)}


def test_the_cheapest_within_one_standard_error_is_taken():
    quality = {"dense": seeds(0.90, 0.94, 0.98), "window": seeds(0.92, 0.92, 0.925), "linear": seeds(0.7, 0.7, 0.7)}
    found = choose(quality, COST, less=False)
    assert found.error == pytest.approx(standard_error([0.90, 0.94, 0.98]))
    assert (found.best, found.taken, found.within) == ("dense", "window", ("dense", "window"))


def test_one_beyond_it_is_not():
    quality = {"dense": seeds(0.94, 0.94, 0.95), "window": seeds(0.92, 0.92, 0.92), "linear": seeds(0.7, 0.7, 0.7)}
    found = choose(quality, COST, less=False)
    assert (found.best, found.taken, found.within) == ("dense", "dense", ("dense",))
    assert found.sure == 1.0


def test_the_border_is_within():
    quality = {"dense": seeds(0.5, 1.0), "linear": seeds(0.5, 0.5)}
    found = choose(quality, {"dense": seeds(2, 2), "linear": seeds(1, 1)}, less=False)
    assert found.error == pytest.approx(0.25)
    assert found.taken == "linear"


def test_less_may_be_better():
    quality = {"dense": seeds(1.0, 1.2, 1.4), "window": seeds(1.25, 1.25, 1.25), "linear": seeds(2.0, 2.0, 2.0)}
    found = choose(quality, COST, less=True)
    assert (found.best, found.taken) == ("dense", "window")
    mirrored = choose({n: {s: -v for s, v in own.items()} for n, own in quality.items()}, COST, less=False)
    assert (found.taken, found.sure, found.shares) == (mirrored.taken, mirrored.sure, mirrored.shares)


def test_a_group_without_a_cost_is_taken_only_alone_at_the_top():
    quality = {"dense": seeds(0.90, 0.94, 0.98), "window": seeds(0.92, 0.92, 0.92)}
    assert choose(quality, {"dense": {}, "window": seeds(5, 5, 5)}, less=False).taken == "window"
    assert choose(quality, {"dense": {}, "window": {}}, less=False).taken == "dense"


def test_one_seed_takes_the_best_and_knows_no_error():
    found = choose({"dense": seeds(0.9), "linear": seeds(0.89)}, COST, less=False)
    assert (found.taken, found.error, found.count, found.resamples) == ("dense", None, 1, 1)


def said_slowly(quality, cost):
    """The taken one of every resample of seeds, one after the other."""
    names, units = list(quality), list(next(iter(quality.values())))
    taken = []
    for drawn in product(units, repeat=len(units)):
        means = {n: mean([quality[n][u] for u in drawn]) for n in names}
        paid = {n: mean([cost[n][u] for u in drawn]) for n in names}
        best = max(names, key=lambda n: means[n])
        # A single seed, drawn again and again, has no spread of its own.
        own = [quality[best][u] for u in drawn] if len(set(drawn)) > 1 else list(quality[best].values())
        error = standard_error(own)
        taken.append(min((n for n in names if means[n] >= means[best] - error), key=lambda n: paid[n]))
    return {n: taken.count(n) / len(taken) for n in names}


@pytest.mark.parametrize("trial", range(5))
def test_how_sure_is_the_share_of_resamples(trial):
    random = np.random.default_rng(trial)
    quality = {name: seeds(*random.normal(0.8, 0.05, 4)) for name in COST}
    cost = {name: seeds(*random.normal(5, 1, 4)) for name in COST}
    found = choose(quality, cost, less=False)
    assert found.resamples == 4**4
    assert found.shares == pytest.approx(said_slowly(quality, cost))
    assert sum(found.shares.values()) == pytest.approx(1)


def test_many_units_are_drawn():
    random = np.random.default_rng(0)
    quality = {name: dict(enumerate(random.binomial(1, p, 200))) for name, p in (("dense", 0.9), ("linear", 0.5))}
    found = choose(quality, COST, less=False)
    assert (found.count, found.taken, found.sure) == (200, "dense", 1.0)


def test_missing_seeds_are_no_zeros():
    found = choose({"dense": seeds(0.9, 0.9, 0.9), "linear": {2: 0.95}}, COST, less=False)
    assert found.best == "linear"


def test_front():
    quality = {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.9, "e": 0.95}
    cost = {"a": 2.0, "b": 1.0, "c": 1.5, "d": 3.0, "e": None}
    assert pareto(quality, cost, less=False) == ["b", "a"]
    assert pareto({"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 1.0}, less=True) == ["a"]
    assert pareto({"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 1.0}, less=True) == ["a", "b"]
