"""Forecasts of several channels by any shape of transformer that reads patches of one channel at a time.

| shape | reads | writes |
|---|---|---|
| encoder_only | overlapping patches of the history | the whole horizon at once, from all states (PatchTST) |
| decoder_only | patches side by side | the next patch, which it then reads in turn |
| encoder_decoder | overlapping patches of the history | one patch of the horizon for each query, all at once |

Channels share all weights but those of RevIN and of what is known beforehand.
"""

from typing import Protocol

from jaxtyping import Bool, Float
from torch import Tensor, nn

from manyheads.data.base import SeriesSpec
from manyheads.model.init import start_weights
from manyheads.model.layers import Factory
from manyheads.model.revin import Level, RevIN
from manyheads.model.ways import WAYS, Forecast, Steps, Stepwise


class SeriesWindows(Protocol):
    """Windows of scaled values, 0 where one is missing and not seen, and what is known of all steps beforehand."""

    history: Float[Tensor, "b l c"]
    future: Float[Tensor, "b h c"]
    history_seen: Bool[Tensor, "b l c"]
    future_seen: Bool[Tensor, "b h c"]
    history_known: Float[Tensor, "b l f"]
    future_known: Float[Tensor, "b h f"]


class Forecaster(nn.Module):
    """Forecasts the horizon from the history, on the scale of the batch; `shape` is a factory of any body."""

    def __init__(self, shape: Factory, spec: SeriesSpec) -> None:
        super().__init__()
        self.spec, self.body = spec, shape(spec=spec)
        self.revin = RevIN(spec.channels)
        self.way = WAYS[type(self.body)](self.body, spec)
        self.start()

    def start(self) -> None:
        """Draws all weights anew."""
        start_weights(self)
        self.way.start()

    def forward(self, batch: SeriesWindows) -> Forecast:
        """q quantiles in order, or a point (q = 1). The future's values are not looked at."""
        level = self.revin.level(batch.history, batch.history_seen)
        history = self._steps(batch.history, batch.history_seen, batch.history_known, level)
        return self.revin.restored(self.way(self.body, history, batch.future_known), level)

    def teach(self, batch: SeriesWindows) -> tuple[Forecast, Float[Tensor, "b t c"], Bool[Tensor, "b t c"]]:
        """What is forecast of each step that is there to be learned from, the truth, and where it is known.

        A decoder learns from the history too: from every patch the next. Its scale is the history's also then.
        """
        if not isinstance(self.way, Stepwise):
            return self(batch), batch.future, batch.future_seen
        level = self.revin.level(batch.history, batch.history_seen)
        values, seen, known = (
            self.way.stream(getattr(batch, f"history{of}"), getattr(batch, f"future{of}"))
            for of in ("", "_seen", "_known")
        )
        forecast = self.way.teach(self.body, self._steps(values, seen, known, level))
        first = self.way.patch
        return self.revin.restored(forecast, level), values[:, first:], seen[:, first:]

    def _steps(self, values: Tensor, seen: Tensor, known: Tensor, level: Level) -> Steps:
        values = self.revin.normal(values, seen, level)
        return Steps(values, (~seen).to(values.dtype), known.to(values.dtype))
