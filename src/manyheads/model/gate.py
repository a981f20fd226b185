"""Where units of a layer can be weighed, and so be closed, without anything being threaded through a forward."""

from torch import Tensor, nn


class Gate(nn.Module):
    """x · z along one axis of x; x itself while `z` is None, as it is in every model that is not being pruned.

    axis: the axis of the units, counted from behind (−3: heads of (b, h, n, d), −1: neurons); None: one z for all of x.
    z: (units,) or, without an axis, a number (). It is no weight of the model: whoever prunes sets it, and saves it.
    """

    def __init__(self, axis: int | None) -> None:
        super().__init__()
        self.axis, self.z = axis, None

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor | None = self.z
        if z is None:
            return x
        z = z.to(x)  # a model moves without its gates
        return x * (z if self.axis is None else z.view(-1, *[1] * (-1 - self.axis)))

    def extra_repr(self) -> str:
        return "" if self.z is None else f"open={int((self.z != 0).sum())} of {self.z.numel()}"
