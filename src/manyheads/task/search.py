"""How a trained model is asked to write."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor, nn

from manyheads.data.base import DataSpec
from manyheads.errors import UserError
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

    def __post_init__(self) -> None:
        for name, fits, wanted in (
            ("width", self.width >= 1, "1 or more"),
            ("ratio", self.ratio >= 0, "0 or more"),
            ("temperature", self.temperature > 0, "above 0 (search.method=greedy is what 0 would mean)"),
            ("top_k", self.top_k is None or self.top_k >= 1, "1 or more, or null"),
            ("top_p", self.top_p is None or 0 < self.top_p <= 1, "above 0 and at most 1, or null"),
        ):
            if not fits:
                raise UserError(f"task.search.{name}={getattr(self, name)} is no setting: it must be {wanted}.")

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
