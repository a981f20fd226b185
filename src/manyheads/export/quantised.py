"""Linear layers with weights of 8 bits: one scale for each row, and inputs rounded as they come (dynamic, CPU).

Weights lie in the file as plain int8 tensors with their scales, so nothing has to be unpickled.
"""

import warnings
from copy import deepcopy

import torch
from torch import Tensor, nn

WEIGHT, SCALE = "weight.int8", "weight.scale"

WHOLE = ("classify", "straight", "effect", "values", "weigh")
"""Layers that stay as they are: the first and the last ones, small and sensitive."""


def quantise(model: nn.Module) -> nn.Module:
    """A copy in which all linear layers but WHOLE compute in int8; embeddings and tied heads stay."""
    from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic

    with _calm():
        return quantize_dynamic(deepcopy(model), dict.fromkeys(_linears(model), per_channel_dynamic_qconfig))


def state(model: nn.Module) -> dict[str, Tensor]:
    """All of a quantised model's numbers as plain tensors."""
    found: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if _is_quantised(module):
            weight, bias = module.weight(), module.bias()
            found[f"{name}.{WEIGHT}"] = weight.int_repr()
            found[f"{name}.{SCALE}"] = weight.q_per_channel_scales()
            found |= {} if bias is None else {f"{name}.bias": bias}
    inside = tuple(f"{name}." for name, module in model.named_modules() if _is_quantised(module))
    return found | {name: x for name, x in model.state_dict().items() if not name.startswith(inside)}


def whole(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """What `state` gave as a state_dict of the model in fp32, its numbers as coarse as they now are."""
    rest = {name: x for name, x in found.items() if not name.endswith((f".{WEIGHT}", f".{SCALE}"))}
    return rest | {f"{name}.weight": weight * scale.float().unsqueeze(1) for name, weight, scale in _rows(found)}


def put(model: nn.Module, found: dict[str, Tensor]) -> None:
    """Makes layers of `model` those of `state`, so that they compute in int8."""
    for name, weight, scale in _rows(found):
        model.set_submodule(name, _layer(weight, scale, found.get(f"{name}.bias")))


def _rows(found: dict[str, Tensor]) -> list[tuple[str, Tensor, Tensor]]:
    names = [key.removesuffix(f".{WEIGHT}") for key in found if key.endswith(f".{WEIGHT}")]
    return [(name, found[f"{name}.{WEIGHT}"], found[f"{name}.{SCALE}"]) for name in names]


def _layer(weight: Tensor, scale: Tensor, bias: Tensor | None) -> nn.Module:
    from torch.ao.nn.quantized.dynamic import Linear

    with _calm():
        zeros = torch.zeros(len(scale), dtype=torch.int64)
        whole = torch._make_per_channel_quantized_tensor(weight, scale.double(), zeros, 0)
        layer = Linear(weight.size(1), weight.size(0), bias_=bias is not None)
        layer.set_weight_bias(whole, bias)
    return layer


def _linears(model: nn.Module) -> list[str]:
    found = {name for name, module in model.named_modules() if type(module) is nn.Linear}
    return sorted(name for name in found if name.rpartition(".")[2] not in WHOLE)


def _is_quantised(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.ao.nn.quantized.dynamic")


class _calm(warnings.catch_warnings):
    """Without torch's notices of where its quantisation will move."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")
