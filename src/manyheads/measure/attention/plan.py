"""From what was asked to the list of cases, cheap ones first. Mistakes are told here, before anything is measured."""

from typing import Any

import torch
from omegaconf import OmegaConf

from manyheads.attention.choice import ANY
from manyheads.config.names import did_you_mean
from manyheads.errors import UserError
from manyheads.measure.attention import ours
from manyheads.measure.attention.asked import Attention
from manyheads.measure.attention.case import Case, Settings
from manyheads.measure.attention.peers.dense import YARDSTICK
from manyheads.measure.attention.peers.registry import all_peers
from manyheads.training import record

STEPS = ("forward", "both")
DTYPES = ("float32", "bfloat16", "float16")


def settings_of(asked: Attention, overrides: list[str]) -> Settings:
    for key in ("batch", "heads", "head_dim", "window", "error_length", "rounds", "limit"):
        if getattr(asked, key) <= 0:
            raise UserError(f"{key}={getattr(asked, key)} must be above 0.")
    if asked.kv_heads is not None and (asked.kv_heads < 1 or asked.heads % asked.kv_heads):
        raise UserError(f"kv_heads={asked.kv_heads} does not divide heads={asked.heads}.")
    device = _device(asked.device)
    machine = f"{record.device_name(torch.device(device))}, threads: {torch.get_num_threads()}"
    return Settings(
        asked.batch,
        asked.heads,
        asked.kv_heads,
        asked.head_dim,
        asked.window,
        asked.error_length,
        device,
        machine,
        overrides_of(overrides),
    )


def _device(asked: str) -> str:
    if asked == "cuda" and not torch.cuda.is_available():
        raise UserError("device=cuda: there is no such device here; take device=cpu.")
    return ("cuda" if torch.cuda.is_available() else "cpu") if asked == "auto" else asked


def overrides_of(arguments: list[str]) -> dict[str, Any]:
    """NAME.KEY=VALUE as {name: {key: value}}."""
    for argument in arguments:
        name = argument.partition("=")[0].partition(".")[0]
        if name not in ours.names():
            raise UserError(f"{argument}: {name} is no attention.{did_you_mean(name, ours.names())}")
    return OmegaConf.to_container(OmegaConf.from_dotlist(arguments))


def _contestants(asked: Attention) -> list[str]:
    """Ours, each with each kernel, then the peers."""
    fixed = {"kernel"} | ({"kv_heads"} if asked.kv_heads is not None else set())
    everything = ours.distinct(fixed) if asked.attentions == "all" else ours.names()
    attentions = chosen("attentions", asked.attentions, everything)
    kernels = None if asked.kernels == "all" else chosen("kernels", asked.kernels, [*ours.kernels(), ANY])
    mine = ours.contestants(attentions, kernels)
    names = list(dict.fromkeys([*mine, *chosen("peers", asked.peers, list(all_peers()))]))
    if not names:
        raise UserError("Nothing is left to measure: name attentions= with a kernel of theirs, or peers=.")
    return names


def chosen(key: str, text: str, known: list[str]) -> list[str]:
    """The names of a list a,b,c; all of `known` for all, none for none."""
    if text in ("all", "none"):
        return known if text == "all" else []
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise UserError(f"{key}: there is no {name}.{did_you_mean(name, known)} There are {', '.join(known)}.")
    return list(dict.fromkeys(names))


def lengths(asked: Attention) -> list[int]:
    try:
        found = sorted({int(text) for text in asked.lengths.split(",")})
    except ValueError as problem:
        raise UserError(f"lengths={asked.lengths} is no list of whole numbers: write 512,1024.") from problem
    if found[0] < 1:
        raise UserError(f"lengths={asked.lengths}: {found[0]} is no length.")
    return found


def cases(asked: Attention) -> list[list[Case]]:
    """Groups that share a process. Errors first, since they show whether anything is worth timing; then times, short
    sequences before long ones: one contestant at one length, its passes one after the other.
    """
    names, kinds = _contestants(asked), _kinds(asked)
    steps = chosen("passes", asked.passes, list(STEPS))
    errors = [
        [Case("error", name, asked.error_length, causal, "both", dtype) for causal, dtype in kinds] for name in names
    ]
    return errors + [
        [Case("time", name, length, causal, step, dtype) for step in steps]
        for length in lengths(asked)
        for causal, dtype in kinds
        for name in dict.fromkeys([YARDSTICK, *names])
    ]


def duels(asked: Attention) -> list[list[Case]]:
    """Groups that play in one process; in each, the first is what the others are compared with."""
    names, steps = _contestants(asked), chosen("passes", asked.passes, list(STEPS))
    causal, dtypes = _causal(asked), chosen("dtype", asked.dtype, list(DTYPES))
    if asked.duel == "lengths":
        return [
            [Case("duel_lengths", name, n, c, step, dtype) for n in lengths(asked)]
            for name in names
            for step in steps
            for c in causal
            for dtype in dtypes
        ]
    return [
        [Case("duel", name, n, c, step, dtype) for name in names for dtype in dtypes]
        for n in lengths(asked)
        for step in steps
        for c in causal
    ]


def _kinds(asked: Attention) -> list[tuple[bool, str]]:
    return [(causal, dtype) for dtype in chosen("dtype", asked.dtype, list(DTYPES)) for causal in _causal(asked)]


def _causal(asked: Attention) -> list[bool]:
    return {"both": [False, True], "true": [True], "false": [False]}[asked.causal]
