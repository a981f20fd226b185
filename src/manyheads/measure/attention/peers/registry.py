"""Peers by name. Each is a function from a Shape to a Built; what it cannot do it says by raising Cannot."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from manyheads.measure.attention.built import Built, Cannot
from manyheads.measure.attention.case import Shape

MODULES = ("dense", "window", "bigbird", "linear")


@dataclass(frozen=True)
class Peer:
    """package: what has to be installed (None: torch is enough); devices, causal, backward, grouped: what it can do.

    multiple: what lengths must be a multiple of.
    """

    build: Callable[[Shape], Built]
    package: str | None
    devices: tuple[str, ...]
    causal: tuple[bool, ...]
    backward: tuple[str, ...]
    grouped: bool
    multiple: Callable[[Shape], int]

    def why_not(self, shape: Shape) -> str | None:
        """Why it cannot run this, as far as one knows without trying."""
        if self.package is not None and find_spec(self.package.replace("-", "_")) is None:
            return f"not installed: pip install {PACKAGES.get(self.package, self.package)}."
        device = shape.device.type
        if device not in self.devices:
            return f"runs on {' and '.join(self.devices)} alone."
        if shape.causal not in self.causal:
            return "has no causal form." if shape.causal else "has a causal form alone."
        if shape.gradients and device not in self.backward:
            return f"has no backward on {device}."
        if not self.grouped and shape.kv_heads not in (None, shape.heads):
            return "has no grouped queries."
        step = self.multiple(shape)
        return f"takes lengths that are multiples of {step}." if shape.length % step else None


PACKAGES = {"fla": "flash-linear-attention"}
"""Packages that are not called what one imports."""

PEERS: dict[str, Peer] = {}

BOTH = ("cpu", "cuda")


def peer(
    name: str,
    package: str | None = None,
    devices: tuple[str, ...] = BOTH,
    causal: tuple[bool, ...] = (True, False),
    backward: tuple[str, ...] = BOTH,
    grouped: bool = False,
    multiple: Callable[[Shape], int] = lambda shape: 1,
) -> Callable[[Callable[[Shape], Built]], Callable[[Shape], Built]]:
    """Registers a builder under `name`."""

    def register(build: Callable[[Shape], Built]) -> Callable[[Shape], Built]:
        PEERS[name] = Peer(build, package, devices, causal, backward, grouped, multiple)
        return build

    return register


def all_peers() -> dict[str, Peer]:
    for module in MODULES:
        import_module(f"{__package__}.{module}")
    return PEERS


def build(name: str, shape: Shape) -> Built:
    """The peer made ready; raises Cannot."""
    found = all_peers()[name]
    refused = found.why_not(shape)
    if refused:
        raise Cannot(refused)
    return found.build(shape)
