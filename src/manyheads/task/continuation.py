"""How a language model goes on with a text."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from manyheads.data.base import TokenSpec
from manyheads.errors import UserError
from manyheads.model.decoding import Decoding
from manyheads.model.generate import Ends, greedy, sample

Method = Literal["greedy", "sample"]


@dataclass(frozen=True)
class Continuation:
    """Which beginnings of test documents are gone on with, and how.

    prompts: how many of a test set. given: tokens of each. longest: tokens written at most.
    temperature, top_k, top_p: of sampling. seed: of its chance.
    """

    prompts: int
    given: int
    longest: int
    temperature: float
    top_k: int | None
    top_p: float | None
    seed: int

    def __post_init__(self) -> None:
        for name, fits, wanted in (
            ("prompts", self.prompts >= 0, "0 or more"),
            ("given", self.given >= 1, "1 or more"),
            ("longest", self.longest >= 0, "0 or more"),
            ("temperature", self.temperature > 0, "above 0 (greedy is what 0 would mean)"),
            ("top_k", self.top_k is None or self.top_k >= 1, "1 or more, or null"),
            ("top_p", self.top_p is None or 0 < self.top_p <= 1, "above 0 and at most 1, or null"),
        ):
            if not fits:
                raise UserError(f"task.continuation.{name}={getattr(self, name)} is no setting: it must be {wanted}.")

    @torch.inference_mode()
    def __call__(
        self, model: nn.Module, spec: TokenSpec, prompts: list[list[int]], method: Method, cached: bool = True
    ) -> list[list[int]]:
        """What the model writes behind each prompt (ids, ⟨bos⟩ first), without ⟨eos⟩.

        A row has no more than `spec.longest` positions: of a longer prompt the end is read, and half of them are left
        to write in where so many are asked for.
        """
        if not self.longest or not prompts:
            return [[] for _ in prompts]
        device = next(model.parameters()).device
        kept = spec.longest - min(self.longest, spec.longest // 2)
        ids, lengths = _padded([prompt[-kept:] for prompt in prompts], spec.pad, device)
        ends = Ends(spec.eos, (spec.longest - lengths).clamp(max=self.longest), (spec.pad, spec.bos, spec.sep))
        decoding = continued(model, ids, lengths, cached)
        if method == "greedy":
            return greedy(decoding, spec.bos, ends)
        dice = torch.Generator(device).manual_seed(self.seed)
        return sample(decoding, spec.bos, ends, self.temperature, self.top_k, self.top_p, dice)


class Continued(Decoding):
    """Texts that are there already: the first step takes each row's own last token, whatever the search says."""

    def __init__(self, decoding: Decoding, last: Int[Tensor, "r"]) -> None:
        super().__init__(decoding.writer, None, 1)
        self.decoding, self.last = decoding, last

    def step(self, tokens: Int[Tensor, "r"]) -> Float[Tensor, "r vocabulary"]:
        tokens, self.last = (tokens if self.last is None else self.last), None
        return self.decoding.step(tokens)

    def select(self, rows: Int[Tensor, "s"]) -> None:
        self.decoding.select(rows)


def continued(model: nn.Module, ids: Int[Tensor, "b n"], lengths: Int[Tensor, "b"], cached: bool = True) -> Decoding:
    """A decoding that goes on with right-padded texts of one token or more each.

    cached: without it every step is a full pass over the text so far, which is slow and obviously right.
    """
    last = ids.gather(1, lengths.unsqueeze(1) - 1).squeeze(1)
    # Of a text of one token nothing is read ahead, but some column there has to be.
    read = ids[:, : max(1, ids.size(1) - 1)]
    return Continued(model.decoding(read, lengths - 1, 1, cached), last)


def _padded(prompts: list[list[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    longest = max(map(len, prompts), default=1)
    rows = [[*prompt, *[pad] * (longest - len(prompt))] for prompt in prompts]
    return torch.tensor(rows, device=device).view(len(prompts), longest), lengths
