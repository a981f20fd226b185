"""Which attention each layer gets, where not all get the same."""

from collections.abc import Callable

from manyheads.attention.base import Attention

Factory = Callable[..., Attention]


class Layers:
    """A factory of attentions that looks at the layer's number; more layers than factories start again with the first.

    across: the factory for attention between sequences; None: the same as within.
    """

    def __init__(self, factories: list[Factory], across: Factory | None) -> None:
        self.factories, self.across = factories, across or self

    def __call__(self, heads: int, head_dim: int, layer: int) -> Attention:
        return self.factories[layer % len(self.factories)](heads=heads, head_dim=head_dim, layer=layer)


def across(factory: Factory) -> Factory:
    """What attention between sequences is made by, where layers within sequences are made by `factory`."""
    return factory.across if isinstance(factory, Layers) else factory
