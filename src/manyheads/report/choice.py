"""The one-standard-error rule: of all that are as good as the best, as far as one can tell, the one that costs least.

Breiman, Friedman, Olshen and Stone 1984, for trees; Hastie, Tibshirani and Friedman 2009, 7.10.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from manyheads.report.stats import DRAWN

Values = Mapping[str, Mapping]
"""By group, then by unit (a seed, a document)."""


@dataclass(frozen=True)
class Choice:
    """best, taken: names of groups; within: those within `error` of the best, the best included.

    error: the standard error of the best; None of a single unit. shares: by group, in how many of `resamples` it was
    taken. count: units, seeds or documents.
    """

    best: str
    taken: str
    within: tuple[str, ...]
    error: float | None
    shares: Mapping[str, float]
    resamples: int
    count: int

    @property
    def sure(self) -> float:
        return self.shares[self.taken]


def choose(quality: Values, cost: Values, less: bool, seed: int = 0) -> Choice:
    """quality: of groups in order, where `less` says that less is better. cost: less is cheaper; a group without any is
    taken only where it is the best and nobody else within reach has one.

    Units are resampled together for all groups, quality and cost, since a seed is lucky or not for all of them.
    """
    names, units = list(quality), list(dict.fromkeys(unit for values in quality.values() for unit in values))
    q, c = _table(quality, names, units), _table({n: cost.get(n, {}) for n in names}, names, units)
    q = -q if less else q
    alone = np.ones((1, len(units)))
    measured, error = _means(q, alone), _errors(q, alone)
    spent = np.where(np.isnan(_means(c, alone)), _mean_of_all(cost, names), _means(c, alone))
    best, within, taken = _rule(measured, error, spent)
    draws = _draws(len(units), seed)
    means = _or(_means(q, draws), measured)
    errors = _or(_errors(q, draws), error)
    costs = _or(_means(c, draws), spent)
    again = _rule(means, errors, costs)[2]
    shares = {name: float((again == n).mean()) for n, name in enumerate(names)}
    own = error[0, best[0]]
    reach = tuple(name for name, inside in zip(names, within[0], strict=True) if inside)
    found = None if np.isnan(own) else float(own)
    return Choice(names[best[0]], names[taken[0]], reach, found, shares, len(draws), len(units))


def _rule(means: np.ndarray, errors: np.ndarray, costs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each row: the best, which are within its standard error, and the cheapest of those."""
    rows = np.arange(len(means))
    best = means.argmax(axis=1)
    bar = means[rows, best] - np.nan_to_num(errors[rows, best])
    # Scores are sums in some order: what is equal but for rounding is equal.
    within = means >= (bar - 1e-12 * np.abs(bar))[:, None]
    known = np.where(np.isnan(costs), np.inf, costs)
    cheapest = np.where(within, known, np.inf).argmin(axis=1)
    taken = np.where(np.isinf(np.where(within, known, np.inf).min(axis=1)), best, cheapest)
    return best, within, taken


def pareto(quality: Mapping[str, float], cost: Mapping[str, float], less: bool) -> list[str]:
    """Those to which no other is better at the same or less cost, or as good and cheaper; from cheap to dear."""
    known = [name for name in quality if cost.get(name) is not None]
    sign = -1 if less else 1
    place = {name: (cost[name], -sign * quality[name]) for name in known}

    def beaten(name: str) -> bool:
        mine = place[name]
        return any(theirs != mine and theirs[0] <= mine[0] and theirs[1] <= mine[1] for theirs in place.values())

    return sorted((name for name in known if not beaten(name)), key=lambda name: place[name])


def _table(values: Values, names: Sequence[str], units: Sequence) -> np.ndarray:
    """(unit, group); NaN where there is none."""
    return np.array([[values[name].get(unit, np.nan) for name in names] for unit in units], dtype=np.float64)


def _draws(count: int, seed: int) -> np.ndarray:
    """(resample, unit): how often each unit was drawn. All resamples are looked at where they are few."""
    if count**count <= DRAWN:
        return np.array([np.bincount(drawn, minlength=count) for drawn in product(range(count), repeat=count)], float)
    return np.random.default_rng(seed).multinomial(count, [1 / count] * count, size=2000).astype(float)


def _means(values: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """(resample, group); NaN for a group of which nothing was drawn."""
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (draws @ np.where(there, values, 0.0)) / (draws @ there)


def _errors(values: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Standard errors of the means; NaN where a single unit was drawn, however often: it says nothing of the others."""
    there = ~np.isnan(values)
    # Around the measured means, so that squares keep their digits.
    middle = np.nanmean(np.where(there.any(axis=0), values, 0.0), axis=0)
    off = np.where(there, values - middle, 0.0)
    counts, kinds = draws @ there, (draws > 0).astype(float) @ there
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (draws @ off) / counts
        variance = np.maximum((draws @ off**2) / counts - mean**2, 0.0) * counts / (counts - 1)
        return np.where(kinds > 1, np.sqrt(variance / counts), np.nan)


def _or(values: np.ndarray, instead: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(values), instead, values)


def _mean_of_all(cost: Values, names: Sequence[str]) -> np.ndarray:
    """Where quality is counted in documents, a cost is still one of seeds."""
    rows = [list(cost.get(name, {}).values()) for name in names]
    return np.array([[sum(row) / len(row) if row else np.nan for row in rows]])
