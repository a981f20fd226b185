"""Feature maps: φ_q(q) · φ_k(k) stands in for exp(q · k), so that keys can be summed before any query is known.

`queries` and `keys` are plain torch and may be differentiated; `queries_back` and `keys_back` do the same by hand from
φ itself, so that a kernel need not keep a graph. What keeps exponentials in range (a stabiliser) counts as a constant:
it cancels out of the result but for `floor`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


class FeatureMap(ABC):
    """φ_q and φ_k, positive throughout. F is the number of features.

    stabilised: whether keys have a `top`.
    floor: what is added to each feature of a key, after stabilising.
    chunk: how many positions the chunked kernel takes at once (measured: the best depends on F).
    """

    name: ClassVar[str]
    stabilised: ClassVar[bool]
    floor: float
    chunk: int

    @abstractmethod
    def queries(self, q: Float[Tensor, "... d"]) -> Float[Tensor, "... F"]:
        """φ_q."""

    @abstractmethod
    def keys(self, k: Float[Tensor, "... d"]) -> tuple[Float[Tensor, "... F"], Float[Tensor, "..."] | None]:
        """(φ, top): to a query that sees the keys J, φ_k of key j is φ_j · exp(top_j − max of top over J) + floor.

        top None: φ_k is φ, whatever else is seen.
        """

    @abstractmethod
    def queries_back(self, q: Float[Tensor, "... d"], phi: Tensor, grad: Tensor, out: Tensor) -> None:
        """Writes the gradient by q to `out`, from φ_q(q) and the gradient by it; both may be overwritten."""

    @abstractmethod
    def keys_back(self, k: Float[Tensor, "... d"], phi: Tensor, grad: Tensor, out: Tensor) -> None:
        """Writes the gradient by k to `out`, from φ and the gradient by it; both may be overwritten."""


@dataclass(frozen=True)
class Elu(FeatureMap):
    """φ(x) = elu(x) + 1, entry by entry (Katharopoulos et al. 2020, eq. 7). No scale by 1/√d: it has none."""

    chunk: int
    name = "elu"
    stabilised = False
    floor = 0.0

    def queries(self, q: Tensor) -> Tensor:
        return F.elu(q).add_(1)

    def keys(self, k: Tensor) -> tuple[Tensor, None]:
        return F.elu(k).add_(1), None

    def queries_back(self, q: Tensor, phi: Tensor, grad: Tensor, out: Tensor) -> None:
        # φ = eˣ is its own derivative below 0; above, φ ≥ 1 and the derivative is 1.
        torch.mul(grad, phi.clamp_(max=1), out=out)

    keys_back = queries_back


@dataclass(frozen=True, eq=False)
class Favor(FeatureMap):
    """Positive random features (Choromanski et al. 2021, lemma 1): with x = q · d^-¼ and y = k · d^-¼,

        φ_q(q) = exp(W x − max over features) / √F + floor
        φ_k(k) = exp(W y − |y|²/2 − max over features and all keys seen) / √F + floor

    so that without stabilisers and floor the mean of φ_q · φ_k over W is exp(q · k / √d) · exp(−|x|²/2), whose last
    factor cancels in the division. (The authors' code leaves |y|² out of the maximum; long keys then underflow.)

    directions (F, d): W.
    """

    directions: Float[Tensor, "F d"]
    floor: float
    chunk: int
    name = "favor"
    stabilised = True

    def queries(self, q: Tensor) -> Tensor:
        logs = self._project(q)
        return self._share((logs - logs.detach().amax(-1, keepdim=True)).exp()) + self.floor

    def keys(self, k: Tensor) -> tuple[Tensor, Tensor]:
        logs = self._project(k) - (k * k).sum(-1, keepdim=True) / (2 * k.size(-1) ** 0.5)
        top = logs.detach().amax(-1, keepdim=True)
        return self._share((logs - top).exp()), top.squeeze(-1)

    def queries_back(self, q: Tensor, phi: Tensor, grad: Tensor, out: Tensor) -> None:
        out.copy_(grad.mul_(phi.sub_(self.floor)) @ self._scaled(q))

    def keys_back(self, k: Tensor, phi: Tensor, grad: Tensor, out: Tensor) -> None:
        grad = grad.mul_(phi)
        out.copy_((grad @ self._scaled(k)).addcmul_(k, grad.sum(-1, keepdim=True), value=-(k.size(-1) ** -0.5)))

    def _project(self, x: Tensor) -> Tensor:
        return x @ self._scaled(x).t()

    def _scaled(self, x: Tensor) -> Tensor:
        return self.directions.to(x.dtype) * x.size(-1) ** -0.25

    def _share(self, x: Tensor) -> Tensor:
        return x / self.directions.size(0) ** 0.5
