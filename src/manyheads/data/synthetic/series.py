"""Series with known answers: a line, sine waves and autoregressive noise, so that the best possible forecast is known.

    y(t) = level + slope · t + Σ amplitude · sin(2π (t + phase) / season) + e(t)
    e(t) = carry · e(t - 1) + N(0, noise²)

The best forecast h steps ahead continues line and waves and adds carry^h of the last e; what it misses has the variance
noise² (1 - carry^2h) / (1 - carry²), and no forecaster can do better on average.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float


@dataclass(frozen=True)
class Recipe:
    """seasons: steps of each wave. amplitude: of the first one; each further one has half of the one before."""

    seasons: tuple[int, ...]
    amplitude: float
    slope: float
    noise: float
    carry: float


@dataclass(frozen=True)
class Made:
    """Several series of equal length, and the part of each that chance has no hand in."""

    recipe: Recipe
    values: Float[np.ndarray, "s t"]
    certain: Float[np.ndarray, "s t"]

    def best(self, begin: int, horizon: int) -> Float[np.ndarray, "s h"]:
        """The best forecast of the rows from `begin` on, by one who has seen those before."""
        last = (self.values - self.certain)[:, begin - 1 : begin]
        return self.certain[:, begin : begin + horizon] + self.recipe.carry ** np.arange(1, horizon + 1) * last

    def table(self, first: str, step: np.timedelta64) -> pd.DataFrame:
        """A wide table: date, s0, s1, …"""
        dates = np.datetime64(first, "us") + np.arange(self.values.shape[1]) * step
        return pd.DataFrame({"date": dates} | {f"s{row}": values for row, values in enumerate(self.values)})


def floor(recipe: Recipe, horizon: int) -> Float[np.ndarray, "h"]:
    """Expected squared error of the best forecast, 1 to `horizon` steps ahead."""
    steps = np.arange(1, horizon + 1)
    return recipe.noise**2 * (1 - recipe.carry ** (2 * steps)) / (1 - recipe.carry**2)


def generate(recipe: Recipe, series: int, steps: int, seed: int) -> Made:
    """Levels and phases differ between series; the rest is the recipe's. The same for a seed on every machine."""
    chance = np.random.default_rng(seed)
    level, phase = chance.normal(0, 5, (series, 1)), chance.uniform(0, 1, (series, 1))
    place = np.arange(steps)
    certain = level + recipe.slope * place
    for number, season in enumerate(recipe.seasons):
        certain = certain + recipe.amplitude / 2**number * np.sin(2 * np.pi * (place / season + phase))
    return Made(recipe, certain + _noise(recipe, chance.normal(size=(series, steps))), certain)


def _noise(recipe: Recipe, drawn: Float[np.ndarray, "s t"]) -> Float[np.ndarray, "s t"]:
    """Stationary from the first step."""
    error = drawn * recipe.noise
    error[:, 0] /= np.sqrt(1 - recipe.carry**2)
    for step in range(1, drawn.shape[1]):
        error[:, step] += recipe.carry * error[:, step - 1]
    return error
