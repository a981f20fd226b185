"""Whether what was exported answers as the model does, on inputs of several sizes."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from manyheads.errors import UserError

Answer = Callable[..., Tensor]

ALLOWED = 1e-4
"""Error that is left to other orders of summing in fp32, as a share of the greatest answer (of 1 at least)."""


@dataclass(frozen=True)
class Parity:
    """error: the greatest absolute difference. largest: the greatest absolute answer."""

    error: float
    largest: float

    @property
    def good(self) -> bool:
        return self.error <= ALLOWED * max(1.0, self.largest)  # NaN is not


def compare(model: Answer, exported: Answer, samples: list[tuple[Tensor, ...]]) -> Parity:
    with torch.inference_mode():
        pairs = [(model(*sample), exported(*sample)) for sample in samples]
    for wanted, found in pairs:
        if wanted.shape != found.shape:
            raise UserError(
                f"The export answers in the shape {tuple(found.shape)}, the model in {tuple(wanted.shape)}; "
                "nothing was written."
            )
    error = torch.stack([(wanted.double() - found.double()).abs().amax() for wanted, found in pairs]).amax()
    return Parity(float(error), float(torch.stack([wanted.abs().amax() for wanted, _ in pairs]).amax()))


def refuse_bad(parity: Parity, what: str) -> None:
    """Raises UserError where the answers differ by more than rounding."""
    if not parity.good:
        raise UserError(
            f"{what} does not answer as the model does: the greatest error is {parity.error:.2g} beside answers of up "
            f"to {parity.largest:.2g}; nothing was written. Export with format=safetensors, or tell its authors."
        )
