"""Random inputs for a model, from a generator of their own, on the model's device."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


class Dice:
    """The same numbers for every model."""

    def __init__(self, model: nn.Module) -> None:
        self.device, self._generator = next(model.parameters()).device, torch.Generator().manual_seed(0)

    def words(self, rows: int, length: int, vocabulary: int) -> Int[Tensor, "rows length"]:
        return torch.randint(vocabulary, (rows, length), generator=self._generator).to(self.device)

    def other(self, words: Int[Tensor, "b n"], where: Bool[Tensor, "b n"], vocabulary: int) -> Int[Tensor, "b n"]:
        """The same with other words at some places: never the word that stands there."""
        step = 1 + self.words(*words.shape, vocabulary) % max(1, vocabulary - 1)
        return torch.where(where, (words + step) % vocabulary, words)

    def numbers(self, *shape: int) -> Float[Tensor, "..."]:
        """Of unit variance."""
        return torch.randn(shape, generator=self._generator).to(self.device)

    def put(self, numbers: list[int] | tuple[int, ...]) -> Int[Tensor, "b"]:
        return torch.tensor(numbers, device=self.device)


def room(model: nn.Module, wanted: int) -> int:
    """So many positions, or as many as the model can tell apart."""
    limits = [module.limit for module in model.modules() if getattr(module, "limit", None) is not None]
    return min([wanted, *limits])


def until(lengths: Int[Tensor, "b"], n: int | None = None) -> Bool[Tensor, "b n"]:
    """True for the first `lengths[b]` of n places."""
    n = int(lengths.max()) if n is None else n
    return torch.arange(n, device=lengths.device) < lengths.unsqueeze(1)


def these(numbers: Int[Tensor, "b"], one: int | None) -> Bool[Tensor, "b"]:
    """Where the number is `one`; None: everywhere."""
    return torch.ones_like(numbers, dtype=torch.bool) if one is None else numbers == one
