"""The project's own attentions as contestants: `name/kernel`, or `name` where the rule has no choice of kernels."""

from dataclasses import replace
from functools import cache
from importlib import import_module
from typing import Any

import torch
from omegaconf import OmegaConf

from manyheads.attention.base import Attention
from manyheads.attention.choice import ANY
from manyheads.attention.kernels import registry
from manyheads.attention.kernels.linear import registry as linear_registry
from manyheads.attention.linear import Linear
from manyheads.attention.load import load
from manyheads.attention.mask import Mask
from manyheads.attention.performer import Performer
from manyheads.attention.softmax import Softmax
from manyheads.config.compose import compose
from manyheads.config.places import conf_folder
from manyheads.measure.attention.built import Built, Cannot, Definition, qkv
from manyheads.measure.attention.case import Shape
from manyheads.measure.attention.definitions import softmax
from manyheads.measure.attention.work import Work, linear_work, moved, pairs, softmax_work


def names() -> list[str]:
    """Every yaml of conf/attention."""
    return sorted(file.stem for file in (conf_folder() / "attention").glob("*.yaml"))


def distinct(fixed: set[str]) -> list[str]:
    """The names less those that differ from an earlier one in nothing but position or `fixed` keys; dense first."""
    seen, kept = [], []
    for name in sorted(names(), key=lambda name: (name != "dense", name)):
        node = {key: value for key, value in values(name).items() if key not in fixed}
        if node not in seen:
            seen.append(node)
            kept.append(name)
    return kept


@cache
def values(name: str) -> dict[str, Any]:
    return OmegaConf.to_container(compose([f"attention={name}"]).attention, resolve=False)


def contestants(attentions: list[str], kernels: list[str] | None) -> list[str]:
    """Each attention with each of its kernels (None: all), `any` included; by itself where there is but one way."""
    found = []
    for name in attentions:
        own = kernels_of(name)
        asked = own if kernels is None else [kernel for kernel in kernels if kernel in (*own, ANY)]
        found += [f"{name}/{kernel}" for kernel in asked] if own else [name]
    return found


def kernels_of(name: str) -> list[str]:
    """The kernels that the attention's rule can be computed by; none where its yaml leaves no choice."""
    if "kernel" not in values(name):
        return []
    module, _, rule = values(name)["_target_"].rpartition(".")
    linear = issubclass(getattr(import_module(module), rule), Linear)
    return linear_registry.names() if linear else registry.names()


def kernels() -> list[str]:
    return sorted({*registry.names(), *linear_registry.names()})


def module(contestant: str, shape: Shape, **more: Any) -> Attention:
    """The attention of conf/attention with the run's window, kv_heads and overrides."""
    name, _, kernel = contestant.partition("/")
    node, asked = values(name), {}
    if kernel:
        asked = {"kernel": kernel, "strict": kernel != ANY}
    if shape.kv_heads is not None:
        asked["kv_heads"] = shape.kv_heads
    if "width" in (node.get("pattern") or {}):
        asked["pattern"] = {"width": shape.width}
    asked = OmegaConf.to_container(OmegaConf.merge(asked, shape.overrides.get(name, {}), more))
    return load(name, shape.heads, shape.head_dim, **asked).to(shape.device)


def why_not(contestant: str, shape: Shape) -> str | None:
    """The attention's own reason, from inputs that take no memory."""
    attention = _module_to_ask(contestant, replace(shape, length=0, dtype=torch.float32, gradients=False))
    q, k = (
        torch.empty(1, dtype=shape.dtype, device=shape.device)
        .expand(shape.batch, heads, shape.length, shape.head_dim)
        .requires_grad_(shape.gradients)
        for heads in (shape.heads, attention.kv_heads)
    )
    return attention.why_not(q, k, _mask(shape))


_asked: dict[tuple[str, str], Attention] = {}


def _module_to_ask(contestant: str, shape: Shape) -> Attention:
    """Made once for all lengths: composing a config takes half a second."""
    key = (contestant, repr(shape))
    if key not in _asked:
        _asked[key] = module(contestant, shape)
    return _asked[key]


def build(contestant: str, shape: Shape) -> Built:
    attention = module(contestant, shape)
    if shape.dtype == torch.float64:
        attention = attention.double()
    q, k, v = qkv(shape, attention.kv_heads)
    refused = attention.why_not(q, k, _mask(shape))
    if refused:
        raise Cannot(refused)
    return Built(
        [q, k, v],
        lambda mask: attention.attend(q, k, v, mask),
        _work(attention, shape),
        lambda: _mask(shape),
        _definition(contestant, attention, shape),
    )


def _mask(shape: Shape) -> Mask:
    return Mask(shape.length, shape.length, causal=shape.causal)


def _work(attention: Attention, shape: Shape) -> Work:
    if attention.exact and hasattr(attention, "pattern"):
        mask = _mask(shape).within(attention.pattern)
        return softmax_work(shape, pairs(mask, shape.heads, shape.batch), attention.kv_heads)
    if isinstance(attention, Performer):
        features = attention.directions.size(0)
        # Features of q and of k: two products of d × m.
        return linear_work(shape, features, attention.kv_heads, featuring=4 * shape.head_dim * features)
    if isinstance(attention, Linear):
        return linear_work(shape, shape.head_dim, attention.kv_heads)
    return Work(None, moved(shape, attention.kv_heads))


def _definition(contestant: str, attention: Attention, shape: Shape) -> Definition | None:
    """What the rule's own reference kernel says, at any precision; of softmax without a choice, that of softmax."""
    mask = _mask(shape)
    if "kernel" in values(contestant.partition("/")[0]):
        return lambda q, k, v: module(contestant, shape, kernel="reference").to(q.dtype).attend(q, k, v, mask)
    if isinstance(attention, Softmax):
        return lambda q, k, v: softmax(q, k, v, mask.within(attention.pattern))
    return None
