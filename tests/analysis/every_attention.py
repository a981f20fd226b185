"""Factories of the attentions of conf/attention, with patterns so small that they hide something of few tokens."""

from collections.abc import Callable
from functools import cache

from manyheads.attention.base import Attention
from manyheads.config.compose import compose
from manyheads.config.objects import instantiate
from manyheads.config.places import conf_folder

ATTENTIONS = sorted(file.stem for file in (conf_folder() / "attention").glob("*.yaml"))
NARROW = {
    "sliding_window": ("attention.pattern.width=2",),
    "bigbird": ("attention.pattern.block=2", "attention.pattern.window=0", "attention.pattern.random=1"),
}


@cache
def factory(name: str, *overrides: str) -> Callable[..., Attention]:
    """Called with heads, head_dim and layer, as blocks do."""
    return instantiate(compose([f"attention={name}", *NARROW.get(name, ()), *overrides]).attention)
