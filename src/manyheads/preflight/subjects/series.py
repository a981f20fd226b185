"""Windows of series, with any body."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from manyheads.model.forecaster import Forecaster
from manyheads.model.ways import Answered, Stepwise
from manyheads.preflight.dice import these
from manyheads.preflight.subjects.base import Change, Subject
from manyheads.preflight.trace import Held

ROWS, PATCHES, RARE = 2, (3, 2), -1.0
"""Windows; patches of history and horizon where the model takes any number; the normal number below which a value is
missing: every sixth.
"""

ANY = 1 << 40
"""More than there are: masks of that length take no memory."""


@dataclass(frozen=True)
class Windows:
    """What `Forecaster` reads; its own fields say what they are."""

    history: Float[Tensor, "b l c"]
    future: Float[Tensor, "b h c"]
    history_seen: Bool[Tensor, "b l c"]
    future_seen: Bool[Tensor, "b h c"]
    history_known: Float[Tensor, "b l f"]
    future_known: Float[Tensor, "b h f"]

    def row(self, b: int) -> "Windows":
        return Windows(*(getattr(self, field.name)[b : b + 1] for field in fields(self)))


class OfSeries(Subject):
    """Layers of the body have a row for each channel of each window.

    A model that is taught patch after patch is asked both ways: what it forecasts, and then what it is taught.
    """

    result = "the forecast"
    model: Forecaster

    def draw(self) -> Windows:
        spec, draw = self.model.spec, self.dice.numbers
        sizes = [(ROWS, steps, spec.channels) for steps in self._steps]
        values, seen = [draw(*size) for size in sizes], [draw(*size) > RARE for size in sizes]
        known = [draw(ROWS, steps, spec.known) for _, steps, _ in sizes]
        return Windows(*(value * there for value, there in zip(values, seen, strict=True)), *seen, *known)

    def run(self, sample: Windows) -> Float[Tensor, "b t cq"]:
        forecast = self.model(sample)
        if self._stepwise:
            forecast = torch.cat((forecast, self.model.teach(sample)[0]), dim=1)
        return forecast.flatten(2)

    def lesson(self) -> Tensor:
        return self.model.teach(self.sample)[0]

    def held(self, sample: Windows, b: int | None = None) -> Held:
        """Of window `b` alone, or of all."""
        return self._places(these(self._rows(sample), b))

    def future(self) -> Change | None:
        sample, (history, horizon), patch = self.sample, self._steps, self.model.spec.patch
        other = replace(sample, future=self._other(sample.future, sample.future_seen))
        if not self._stepwise:
            return Change("later values", other, self.held(sample))
        # What is taught of a patch is made of those before it: of the first new one, of the history alone.
        read, every = -(-history // patch), these(self._rows(sample), None)
        return Change("later values", other, self._places(every, read, horizon + read * patch))

    def unseen(self) -> Change:
        history = self._other(self.sample.history, ~self.sample.history_seen)
        future = self._other(self.sample.future, ~self.sample.future_seen)
        other = replace(self.sample, history=history, future=future)
        return Change("what stands where values are missing", other, self.held(self.sample))

    def alone(self) -> Iterator[tuple[Held, Windows]]:
        for b in range(ROWS):
            yield self.held(self.sample, b), self.sample.row(b)

    def learns(self, name: str) -> bool:
        """Where one patch is the whole horizon, its query has no other to look at."""
        single = isinstance(self.model.way, Answered) and self.model.spec.horizon <= self.model.spec.patch
        return not (single and name.startswith("body.decoder.") and ".read_own.inner.q." in name)

    @property
    def _stepwise(self) -> bool:
        return isinstance(self.model.way, Stepwise)

    @property
    def _steps(self) -> tuple[int, int]:
        """Of history and horizon: few where the model takes any number of patches, but for the rest of a patch."""
        spec = self.model.spec
        asked = spec.history, spec.horizon
        if not self._stepwise:
            return asked
        few = (count * spec.patch - (-steps) % spec.patch for count, steps in zip(PATCHES, asked, strict=True))
        return tuple(map(min, asked, few))

    def _rows(self, sample: Windows) -> Int[Tensor, "b"]:
        return torch.arange(len(sample.history), device=self.dice.device)

    def _other(self, values: Tensor, where: Tensor) -> Tensor:
        return torch.where(where, 3 - 2 * values, values)

    def _places(self, own: Bool[Tensor, "b"], patches: int = ANY, steps: int = ANY) -> Held:
        """The first `patches` of the body and the first `steps` of the result, of some windows."""
        body = own.repeat_interleave(self.model.spec.channels).unsqueeze(1).expand(-1, patches)
        return {"body": body, self.result: own.unsqueeze(1).expand(-1, steps)}
