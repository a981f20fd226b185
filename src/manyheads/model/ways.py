"""How a body comes from the history of each window to its horizon: one way for each shape of transformer.

All see windows on their own scale. Quantiles are put in order by sorting them: that is never further from the truth
than what it was made of (Chernozhukov et al. 2010), asks for no weights, and treats no quantile as the one that the
others hang on.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from manyheads.attention.mask import Mask
from manyheads.data.base import SeriesSpec
from manyheads.model.patches import KnownPatch, PatchEmbedding, cut, lengthened, overlapping
from manyheads.model.precision import wide
from manyheads.model.shapes import DecoderOnly, EncoderDecoder, EncoderOnly, Shape

Forecast = Float[Tensor, "b h c q"]


@dataclass(frozen=True)
class Steps:
    """Some steps of windows, each window on its own scale. missing: 1 where a value is, which is 0."""

    values: Float[Tensor, "b t c"]
    missing: Float[Tensor, "b t c"]
    known: Float[Tensor, "b t f"]


class Way(nn.Module, ABC):
    """How a body comes from the history to the horizon; the body is handed in, since the Forecaster owns it."""

    def __init__(self, body: Shape, spec: SeriesSpec) -> None:
        super().__init__()
        self.channels, self.horizon, self.patch, self.stride = spec.channels, spec.horizon, spec.patch, spec.stride
        self.quantiles = max(1, len(spec.quantiles))
        self.embed = PatchEmbedding(body.dim, spec.patch, spec.known)
        # Added to a forecast for what is known of its step, each channel in its own way.
        self.effect = nn.Linear(spec.known, spec.channels * self.quantiles, bias=False) if spec.known else None

    def start(self) -> None:
        """What `start_weights` cannot know: nothing that is known has an effect before one is learned."""
        if self.effect is not None:
            nn.init.zeros_(self.effect.weight)

    def _finished(self, x: Float[Tensor, "bc n pq"], known: Float[Tensor, "b t f"]) -> Forecast:
        """Outputs for each patch as forecasts of the steps that `known` speaks of, the first of the patches' steps."""
        x = rearrange(wide(x), "(b c) n (p q) -> b (n p) c q", c=self.channels, q=self.quantiles)[:, : known.size(1)]
        if self.effect is not None:
            x = x + self.effect(known.to(self.effect.weight.dtype)).unflatten(-1, (self.channels, self.quantiles))
        return x.sort(dim=-1).values if self.quantiles > 1 else x


class AtOnce(Way):
    """The whole horizon at once, from overlapping patches of the history.

    Beside the body lies a straight way: the last value and a linear map of how the history differs from it, one for all
    channels and quantiles (NLinear, Zeng et al. 2023), which begins as nothing or as what `begin` is given. It has no
    bias: that is the drift of the training part, which need not go on. The body learns what is left over, as in TiDE
    (Das et al. 2023).
    """

    head: nn.Linear

    def __init__(self, body: Shape, spec: SeriesSpec) -> None:
        super().__init__(body, spec)
        self.patches = overlapping(spec.history, spec.patch, spec.stride)
        self.straight = nn.Linear(spec.history, spec.horizon, bias=False)

    def start(self) -> None:
        super().start()
        nn.init.zeros_(self.straight.weight)

    @torch.no_grad()
    def begin(self, weight: Float[Tensor, "h l"]) -> None:
        """From here on a forecast is the last value and this map, until training adds to it."""
        Way.start(self)
        self.straight.weight.copy_(weight)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, body: Shape, history: Steps, known: Float[Tensor, "b h f"]) -> Forecast:
        last = history.values[:, -1:]
        straight = self.straight((history.values - last).transpose(1, 2).to(self.straight.weight.dtype))
        level = last + wide(straight).transpose(1, 2)
        return self._finished(self.answer(body, history, known), known) + level.unsqueeze(-1)

    @abstractmethod
    def answer(self, body: Shape, history: Steps, known: Float[Tensor, "b h f"]) -> Float[Tensor, "bc n pq"]:
        """What the body makes of the history: outputs for each patch of the horizon, or for all of it as one."""

    def _read(self, history: Steps) -> Float[Tensor, "bc n dim"]:
        """Overlapping patches of the history, embedded."""
        long = (lengthened(x, self.stride) for x in (history.values, history.missing, history.known))
        return self.embed(*(cut(x, self.patch, self.stride) for x in long))


class Whole(AtOnce):
    """All states side by side speak for all steps of the horizon (PatchTST's flatten head)."""

    def __init__(self, body: EncoderOnly, spec: SeriesSpec) -> None:
        super().__init__(body, spec)
        self.dropout = nn.Dropout(body.encoder.dropout.p)
        self.head = nn.Linear(self.patches * body.dim, spec.horizon * self.quantiles)

    def answer(self, body: EncoderOnly, history: Steps, known: Float[Tensor, "b h f"]) -> Float[Tensor, "bc 1 hq"]:
        states = body.read(self._read(history), None).flatten(1)
        return self.head(self.dropout(states)).unsqueeze(1)


class Answered(AtOnce):
    """A learned query for each patch of the horizon, which knows what is known of it, asks the encoded history.

    Attention between sequences carries no positions, so both sides have learned places too.
    """

    def __init__(self, body: EncoderDecoder, spec: SeriesSpec) -> None:
        super().__init__(body, spec)
        self.places = nn.Parameter(torch.empty(self.patches, body.dim))
        self.queries = nn.Parameter(torch.empty(-(-spec.horizon // spec.patch), body.dim))
        self.known = KnownPatch(body.dim, spec.patch, spec.known)
        self.head = nn.Linear(body.dim, spec.patch * self.quantiles)

    def start(self) -> None:
        super().start()
        for table in (self.places, self.queries):
            nn.init.normal_(table, std=table.size(1) ** -0.5)

    def answer(self, body: EncoderDecoder, history: Steps, known: Float[Tensor, "b h f"]) -> Float[Tensor, "bc n pq"]:
        context = body.read(self._read(history) + self.places, None)
        coming = cut(_padded(known, 0, -self.horizon % self.patch), self.patch, self.patch)
        queries = self.queries + self.known(coming, self.channels)
        return self.head(body.answer(queries.expand(context.size(0), -1, -1), context, None))


class Stepwise(Way):
    """Patch after patch, side by side: from each one, and what is known of the next one, that next one.

    Patches end where the history ends: the first one of the history and the last one of the horizon may be filled up
    with missing values. Of quantiles, the one nearest to the median is what is read in turn.
    """

    def __init__(self, body: DecoderOnly, spec: SeriesSpec) -> None:
        super().__init__(body, spec)
        overlapping(spec.history, spec.patch, spec.patch)
        self.front, self.back = -spec.history % spec.patch, -spec.horizon % spec.patch
        self.middle = middle(spec.quantiles)
        self.head = nn.Linear(body.dim, spec.patch * self.quantiles)

    def forward(self, body: DecoderOnly, history: Steps, known: Float[Tensor, "b h f"]) -> Forecast:
        """Each step computes one patch alone; what the layers know of those before it is remembered."""
        values = self._cut(_padded(history.values, self.front, 0))
        missing = self._cut(_padded(history.missing, self.front, 0, value=1.0))
        whole = self._cut(_padded(torch.cat((history.known, known), dim=1), self.front, self.back))
        caches, written, n = body.decoder.caches(), [], values.size(1)
        coming = whole[:, 1 : n + 1]
        for at in range(n, whole.size(1)):
            x, start = self.embed(values, missing, coming), at - values.size(1)
            state = body.decoder(x, Mask(x.size(1), at, causal=True), start, None, caches)[:, -1:]
            written.append(self._finished(self.head(state), rearrange(whole[:, at], "b f p -> b p f")))
            values = rearrange(written[-1][..., self.middle], "b p c -> b 1 c p")
            missing, coming = torch.zeros_like(values), whole[:, at + 1 : at + 2]
        return torch.cat(written, dim=1)[:, : self.horizon]

    def stream(self, history: Float[Tensor, "b l k"], future: Float[Tensor, "b h k"]) -> Float[Tensor, "b t k"]:
        """Both in one, filled up with zeros to whole patches."""
        return _padded(torch.cat((history, future), dim=1), self.front, self.back)

    def teach(self, body: DecoderOnly, stream: Steps) -> Forecast:
        """Forecasts of all patches of a stream but the first, each from those before it."""
        values, missing, known = (self._cut(x) for x in (stream.values, stream.missing, stream.known))
        states = body.read(self.embed(values[:, :-1], missing[:, :-1], known[:, 1:]))
        return self._finished(self.head(states), stream.known[:, self.patch :])

    def _cut(self, x: Float[Tensor, "b t k"]) -> Float[Tensor, "b n k p"]:
        return cut(x, self.patch, self.patch)


def middle(quantiles: tuple[float, ...]) -> int:
    """Place of the quantile that stands for a point: the one nearest to the median."""
    return min(range(len(quantiles)), key=lambda at: abs(quantiles[at] - 0.5), default=0)


def _padded(x: Float[Tensor, "b t k"], front: int, back: int, value: float = 0.0) -> Float[Tensor, "b t k"]:
    return nn.functional.pad(x, (0, 0, front, back), value=value)


WAYS: dict[type[Shape], type[Way]] = {EncoderOnly: Whole, EncoderDecoder: Answered, DecoderOnly: Stepwise}
