"""A batch of windows: what was, what comes, and what is known of both beforehand."""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from manyheads.data.batch import Batch


@dataclass
class SeriesBatch(Batch):
    """Scaled values, L steps given and H asked for, of C channels. Where a value is missing it is 0 and not seen.

    history_known, future_known: F covariates that are known of the future too: the user's own, then calendar features.
    series: to which series of a panel a window belongs; it counts in `Scaling.series`.
    tokens: values read, b · L · C.
    """

    history: Float[Tensor, "b l c"]
    future: Float[Tensor, "b h c"]
    history_seen: Bool[Tensor, "b l c"]
    future_seen: Bool[Tensor, "b h c"]
    history_known: Float[Tensor, "b l f"]
    future_known: Float[Tensor, "b h f"]
    series: Int[Tensor, "b"]
