"""What differences between runs are worth: tests that assume nothing but that signs are as good as a coin's."""

import math
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

EXACT = 14
"""So many differences have 16,384 patterns of signs, all of which are looked at; of more some are drawn."""

DRAWN, AT_ONCE = 10_000, 200


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def deviation(values: Sequence[float]) -> float | None:
    """The standard deviation of what the values are drawn from (n - 1); None of a single one."""
    if len(values) < 2:
        return None
    middle = mean(values)
    return math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (len(values) - 1))


def standard_error(values: Sequence[float]) -> float | None:
    spread = deviation(values)
    return None if spread is None else spread / math.sqrt(len(values))


def sign_flip(differences: Sequence[float], seed: int = 0) -> float:
    """Two-sided p of a mean difference: the share of all patterns of signs whose mean is as far from 0, or farther.

    Of n differences it is never less than 2 / 2ⁿ. Above EXACT differences patterns are drawn, and the one that was seen
    is counted among them (Phipson and Smyth 2010), so that p is never 0.
    """
    values = np.asarray([difference for difference in differences if difference != 0], dtype=np.float64)
    if not len(values):
        return 1.0
    if len(values) <= EXACT:
        signs = np.array(list(product((-1.0, 1.0), repeat=len(values))))
        return float(_as_far(signs @ values, values).mean())
    random, far = np.random.default_rng(seed), 0
    for _ in range(DRAWN // AT_ONCE):
        kept = random.integers(0, 2, size=(AT_ONCE, len(values)), dtype=np.int8)
        far += int(_as_far(2 * (kept @ values) - values.sum(), values).sum())
    return (far + 1) / (DRAWN + 1)


def _as_far(sums: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Ties are ties: sums of the same numbers in another order differ by rounding."""
    return np.abs(sums) >= abs(values.sum()) - 1e-9 * np.abs(values).sum()


def least_p(count: int) -> float:
    """The smallest p that so many differences can give."""
    return min(1.0, 2 / 2**count)


def holm(ps: Sequence[float]) -> list[float]:
    """p values of several tests, each as large as it must be for all of them to hold at once (Holm 1979)."""
    order = sorted(range(len(ps)), key=lambda n: ps[n])
    corrected, least = [0.0] * len(ps), 0.0
    for rank, n in enumerate(order):
        least = max(least, min(1.0, (len(ps) - rank) * ps[n]))
        corrected[n] = least
    return corrected


def interval(differences: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """Student's interval of the mean difference; None of a single one.

    Not the bootstrap's: of three differences, resampled means hold the truth in two of three cases and not in 95 %.
    """
    error = standard_error(differences)
    if error is None:
        return None
    from scipy.stats import t  # takes half a second, and reports of single seeds never need it

    reach = float(t.ppf((1 + level) / 2, len(differences) - 1)) * error
    return mean(differences) - reach, mean(differences) + reach


def paired(one: Mapping, other: Mapping) -> list[float]:
    """one - other of everything that both have, by its name (a seed, a document)."""
    return [one[name] - other[name] for name in one if name in other]
