"""How a trained model is asked to write."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor, nn

from manyheads.data.base import DataSpec
from manyheads.model.generate import Ends, beam, greedy, sample


@dataclass(frozen=True)
class Search:
    """A search and its settings.

    width, length_penalty: of beam search. temperature, top_k, top_p: of sampling.
    ratio, extra: a sentence has at most ratio · (tokens of its source) + extra tokens.
    """

    method: Literal["greedy", "beam", "sample"]
    width: int
    length_penalty: float
    ratio: float
    extra: int
    temperature: float
    top_k: int | None
    top_p: float | None

    @torch.inference_mode()
    def __call__(
        self,
        model: nn.Module,
        source: Int[Tensor, "b n"],
        lengths: Int[Tensor, "b"],
        spec: DataSpec,
        cached: bool = True,
    ) -> list[list[int]]:
        """Token ids of one sentence per source, without opening and closing tokens."""
        longest = (lengths * self.ratio).long() + self.extra
        ends = Ends(spec.eos, longest, (spec.pad, spec.bos, spec.sep))
        decoding = model.decoding(source, lengths, self.width if self.method == "beam" else 1, cached)
        if self.method == "beam":
            return beam(decoding, model.first, ends, self.length_penalty)
        if self.method == "sample":
            return sample(decoding, model.first, ends, self.temperature, self.top_k, self.top_p)
        return greedy(decoding, model.first, ends)
