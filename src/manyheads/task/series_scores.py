"""How far forecasts are from the truth: sums over windows, a column for each step of the horizon.

Sums and counts, never means of batches: the score of a test part does not depend on how it was cut into batches, and
ranks are added. Only values that are there count.

| score | of | |
|---|---|---|
| mse, mae | scaled values | per value, as the literature reports them; of quantiles, the one nearest to the median |
| mase | real values | error / mean absolute step of a season in the training part (Hyndman and Koehler 2006); series and channels without such a step are left out |
| smape | real values | 200 · error / (truth + forecast), sizes alone: 0 to 200 (M4); 0 where both are 0 |
| crps | real values | 2 · the mean pinball loss of all quantiles (Gneiting and Raftery 2007); of a point, its mean absolute error |
| coverage | real values | how often the truth lies within the outer quantiles |
"""  # noqa: E501

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from manyheads.model.ways import middle
from manyheads.training.collectives import add_up, gathered

Forecast = Float[Tensor, "b h c q"]
Truth = Float[Tensor, "b h c"]
Loss = Callable[[Forecast, Truth], Truth]

SUMS = ("seen", "loss", "squared", "absolute", "mase", "comparable", "smape", "crps", "covered")
"""Rows of a tally; `seen` and `comparable` are counts of values."""

SCORES = {"loss": "loss", "mse": "squared", "mae": "absolute", "mase": "mase", "smape": "smape", "crps": "crps"}
"""Which sum each score is the mean of."""


def scores(quantiles: tuple[float, ...]) -> tuple[str, ...]:
    """Names of the scores: a point has no band that could cover anything."""
    return (*SCORES, "coverage") if len(quantiles) > 1 else tuple(SCORES)


def loss_of(kind: str, delta: float, quantiles: tuple[float, ...]) -> Loss:
    """The loss of each value: pinball where there are quantiles, else mse, mae or huber (quadratic up to `delta`)."""
    if quantiles:
        return lambda forecast, truth: pinball(forecast, truth, quantiles)
    points = {
        "mse": F.mse_loss,
        "mae": F.l1_loss,
        "huber": lambda *both, reduction: F.huber_loss(*both, reduction=reduction, delta=delta),
    }
    return lambda forecast, truth: points[kind](forecast.squeeze(-1), truth, reduction="none")


def pinball(forecast: Forecast, truth: Truth, quantiles: tuple[float, ...]) -> Truth:
    """max(q · d, (q − 1) · d) for d = truth − forecast, the mean over all q (Koenker and Bassett 1978)."""
    q = forecast.new_tensor(quantiles)
    d = truth.unsqueeze(-1) - forecast
    return torch.maximum(q * d, (q - 1) * d).mean(-1)


class Tally:
    """What `add` has seen of one split."""

    def __init__(self, horizon: int, quantiles: tuple[float, ...], loss: Loss, device: torch.device) -> None:
        self.quantiles, self.loss, self.middle = quantiles, loss, middle(quantiles)
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.sums = torch.zeros(len(SUMS), horizon, dtype=dtype, device=device)
        self.windows: dict[int, float] = {}

    def add(self, batch: Any, forecast: Forecast, scaling: Any) -> None:
        """A batch of windows. scaling: knows real values, and the error of the season that MASE divides by."""
        parts = {"loss": self.loss(forecast, batch.future), **self._scaled(batch, forecast)}
        parts |= self._real(batch, forecast, scaling)
        seen = batch.future_seen
        self.sums += torch.stack(
            [torch.where(seen, parts[name], 0).sum((0, 2), dtype=self.sums.dtype) for name in SUMS]
        )
        squared, count = torch.where(seen, parts["squared"], 0).sum((1, 2)), seen.sum((1, 2))
        self.windows |= zip(batch.index.tolist(), (squared / count.clamp(min=1)).tolist(), strict=True)

    def gather(self) -> "Tally":
        """With what the other ranks have seen; every rank has to call it."""
        add_up(self.sums)
        self.windows = gathered(self.windows)
        return self

    def scores(self) -> dict[str, float]:
        """Means over all values; what no value speaks of is left out."""
        return {name: float(total) for name, total in self._means(self.sums.sum(1)).items() if total.isfinite()}

    def by_step(self) -> dict[str, list[float]]:
        """Of each score, one number for each step of the horizon."""
        return {name: means.tolist() for name, means in self._means(self.sums).items()}

    def ranked(self) -> list[int]:
        """Rows of all windows, from the smallest mean squared error to the greatest."""
        return sorted(self.windows, key=lambda row: (self.windows[row], row))

    def _means(self, sums: Tensor) -> dict[str, Tensor]:
        total = dict(zip(SUMS, sums, strict=True))
        counts = {name: total["comparable" if name == "mase" else "seen"] for name in SCORES}
        means = {name: total[of] / counts[name] for name, of in SCORES.items()}
        return means | ({"coverage": total["covered"] / total["seen"]} if len(self.quantiles) > 1 else {})

    def _scaled(self, batch: Any, forecast: Forecast) -> dict[str, Tensor]:
        error = forecast[..., self.middle] - batch.future
        return {"seen": torch.ones_like(error), "squared": error.square(), "absolute": error.abs()}

    def _real(self, batch: Any, forecast: Forecast, scaling: Any) -> dict[str, Tensor]:
        truth, forecast = (scaling.undo(x, batch.series) for x in (batch.future, forecast))
        point = forecast[..., self.middle]
        error = (point - truth).abs()
        season = torch.as_tensor(scaling.error, dtype=error.dtype, device=error.device)[batch.series].unsqueeze(1)
        comparable = (season > 0).expand_as(error)
        return {
            "mase": torch.where(comparable, error / season, 0),
            "comparable": comparable,
            "smape": 200 * error / (truth.abs() + point.abs()).clamp(min=torch.finfo(error.dtype).tiny),
            "crps": 2 * pinball(forecast, truth, self.quantiles or (0.5,)),
            "covered": _within(truth, forecast),
        }


def _within(truth: Truth, forecast: Forecast) -> Bool[Tensor, "b h c"]:
    return (truth >= forecast[..., 0]) & (truth <= forecast[..., -1])
