"""Ours and peers by one name each, so that a case need not know which it is."""

from manyheads.measure.attention import ours
from manyheads.measure.attention.built import Built, Cannot
from manyheads.measure.attention.case import Shape
from manyheads.measure.attention.peers.registry import all_peers
from manyheads.measure.attention.peers.registry import build as build_peer


def build(name: str, shape: Shape) -> Built:
    """Raises Cannot where it cannot run this."""
    return build_peer(name, shape) if name in all_peers() else ours.build(name, shape)


def why_not(name: str, shape: Shape) -> str | None:
    """The same without building it, where that can be told."""
    try:
        return all_peers()[name].why_not(shape) if name in all_peers() else ours.why_not(name, shape)
    except Cannot as reason:
        return str(reason)
