"""Where a training with gates has ended: its checkpoints become those of the smaller model.

`last.ckpt` comes first. Whoever is killed between the two finds a compact one to go on from, beside a `best.ckpt` that
still has its gates with it, and makes that one compact too. No other gated one is left behind a compact `last.ckpt`.
"""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule

from manyheads.errors import UserError
from manyheads.pruning.architecture import FILE, Architecture
from manyheads.pruning.compact import Origin, compact
from manyheads.pruning.gates import Gates, of_content, put
from manyheads.pruning.saved import KEY, gated
from manyheads.task.base import groups

Save = Callable[[dict[str, Any], Path], None]

POWERS = dict.fromkeys(("exp_avg", "exp_inf", "momentum_buffer", "grad_avg"), -1)
POWERS |= dict.fromkeys(("exp_avg_sq", "max_exp_avg_sq", "sum", "square_avg"), -2)
"""What an optimizer remembers of a weight, where a gate is folded into it: w' = w z, so ∂L/∂w' = ∂L/∂w / z."""

STALE = {"last": ("previous.ckpt", "newest.ckpt"), "best": ("recent/step_*.pt",)}
"""What goes just before these become compact: with its gates, it is no part of the run that goes on from there."""

TOLERANCE = 1e-3
"""Relative difference of a validation batch's loss that rounding may make: in fp32, that of TF32 included."""


def settled_gates(checkpoint: dict[str, Any]) -> Gates:
    """The gates that a training has ended with. Raises UserError where it ended before they settled."""
    state = checkpoint["callbacks"]["Pruner"]
    if not state["settled"]:
        raise UserError(
            f"The training ended at step {checkpoint['global_step']}, before pruning's schedule did, so nothing can be "
            "cut yet: go on for longer (resume= with a greater trainer.max_epochs or max_steps)."
        )
    return of_content(state["gates"])


def compact_files(folder: Path, whole: LightningModule, batch: Any, save: Save) -> None:
    """Makes the checkpoints in `folder` compact, as far as they are not; arch.json says beside them what is left.

    whole: the task with its model as the gated checkpoints have it; batch: a real one, on the device of `whole`, on
    which gated and compact model must agree. Earlier checkpoints go, and means of weights: they are of the gated one.
    """
    for name, stale in STALE.items():
        path = folder / f"{name}.ckpt"
        checkpoint = _read(path)
        if gated(checkpoint):
            found, smaller = compacted(checkpoint, whole, batch)
            for old in (old for pattern in stale for old in folder.glob(pattern)):
                old.unlink()
            smaller.write(folder / FILE)
            save(found, path)


def compacted(checkpoint: dict[str, Any], whole: LightningModule, batch: Any) -> tuple[dict[str, Any], Architecture]:
    """The checkpoint of the smaller model, and its architecture. `whole` is left with the checkpoint's weights."""
    gates = settled_gates(checkpoint)
    states = {key: checkpoint[key] for key in ("state_dict", "current_model_state") if key in checkpoint}
    found = dict(checkpoint)
    for key, state in states.items():
        small, origins = _cut(state, gates, whole)
        found[key] = small.state_dict()
    _refuse_difference(whole, small, batch)
    found["optimizer_states"] = [_moments(own, whole, small, origins) for own in checkpoint["optimizer_states"]]
    architecture = Architecture.of(small.model)
    found[KEY] = architecture.content()
    pruner = {**checkpoint["callbacks"]["Pruner"], "compacted": True}
    found["callbacks"] = {**checkpoint["callbacks"], "Pruner": {k: v for k, v in pruner.items() if k != "gates"}}
    return found, architecture


def _read(path: Path) -> dict[str, Any]:
    # Read, not mapped: the file is about to be replaced.
    return torch.load(path, map_location="cpu", weights_only=True)


def _cut(state: dict[str, Any], gates: Gates, whole: LightningModule) -> tuple[LightningModule, dict[str, Origin]]:
    whole.load_state_dict(state)
    put(whole.model, gates)
    small = _copy(whole)
    return small, compact(small.model)


def _copy(task: LightningModule) -> LightningModule:
    trainer, task._trainer = task._trainer, None  # not to be copied
    copied = deepcopy(task)
    task._trainer = trainer
    return copied


@torch.no_grad()
def _refuse_difference(whole: LightningModule, small: LightningModule, batch: Any) -> None:
    gated, compact = (float(_copy(task).float().eval().step(batch).loss) for task in (whole, small))
    most = max(TOLERANCE, *(4 * torch.finfo(weight.dtype).eps for weight in whole.parameters()))
    if not abs(gated - compact) <= most * max(0.01, abs(gated)):  # nor where one is no number
        raise RuntimeError(f"The compact model is not the gated one: a loss of {compact} instead of {gated}.")


def _moments(
    state: dict[str, Any], whole: LightningModule, small: LightningModule, origins: dict[str, Origin]
) -> dict[str, Any]:
    """An optimizer's state for the parameters that are left, in the order in which the task gives them to it."""
    before = {id(p): name for name, p in whole.model.named_parameters()}
    old = [before[id(p)] for group in groups(whole.model) for p in group["params"]]
    numbers = {name: number for number, name in enumerate(old)}
    now = {id(p): name for name, p in small.model.named_parameters()}
    kept, shares = {}, []
    for group in groups(small.model):
        shares.append(list(range(len(kept), len(kept) + len(group["params"]))))
        for parameter in group["params"]:
            origin = origins[now[id(parameter)]]
            entry, shape = state["state"].get(numbers[origin.old], {}), whole.model.get_parameter(origin.old).shape
            kept[len(kept)] = _of(entry, origin, shape)
    own = [{**group, "params": numbers} for group, numbers in zip(state["param_groups"], shares, strict=True)]
    return {**state, "state": {number: entry for number, entry in kept.items() if entry}, "param_groups": own}


def _of(entry: dict[str, Any], origin: Origin, shape: torch.Size) -> dict[str, Any]:
    """What is remembered of one parameter; nothing where it is no number for each weight, but for rows or columns."""
    tensors = {key: value for key, value in entry.items() if torch.is_tensor(value) and value.ndim}
    if any(value.shape != shape for value in tensors.values()):
        return {}
    return {**entry, **{key: origin.of(value, POWERS.get(key, 0)) for key, value in tensors.items()}}
