"""Which rule is fastest: softmax by its best kernel, or one that only stands near it.

A rule is a function, not a way to compute one: weights trained with one do not serve another. So it is never chosen
unless asked for, and never again once weights were trained with one.
"""

import logging
import os
from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from manyheads.attention.base import Attention
from manyheads.attention.mask import Mask
from manyheads.attention.race import Case, Found, aside, attempt, call, candidates, inputs, race, rounded, seconds
from manyheads.attention.timings import fastest, timed, timings
from manyheads.errors import UserError

if TYPE_CHECKING:
    from manyheads.attention.auto import Auto

log = logging.getLogger(__name__)

SOFTMAX = "softmax"


def fastest_rule(auto: "Auto", length: int) -> str:
    """The fastest of softmax and `auto.rules`, forward and backward, a causal pass and a full one together.

    It is measured where the module is: on the device of the training for whom its checks or its first pass ask. (Where
    processes are forked, the checks stay on the CPU, and so does this: a GPU once touched is lost to the forks.)

    Raises UserError in one of several processes that would have to measure: clocks differ, and each process would train
    a rule of its own. What one machine remembers is the same for all of its processes.
    """
    case = _case(auto, length, "full")
    table, key = timings(auto.cache, case.device), f"{case} · rules: {_settings(auto)}"
    if key not in table.known:
        _refuse_several(auto)
        table.add(key, _raced(auto, length))
    found = table.known[key]
    times = timed(found)
    rule = fastest(times) if times else SOFTMAX
    if key not in table.told:
        table.told.add(key)
        log.warning("%s", _sentence(found, rule, case, length))
    return rule


def _settings(auto: "Auto") -> str:
    """The rules with all that their time may depend on: the numbers and words that they were made with."""
    return ", ".join(f"{name} ({rule.extra_repr()}; {_own(rule)})" for name, rule in auto.rules.items())


def _own(rule: Attention) -> str:
    # Layers share a measurement, as seeds do.
    kept = {name: x for name, x in vars(rule).items() if isinstance(x, bool | int | float | str | None)}
    return ", ".join(f"{name}={x}" for name, x in kept.items() if not name.startswith("_") and name not in UNTIMED)


UNTIMED = ("training", "layer", "seed")
"""Attributes of a rule that cost nothing."""


def _refuse_several(auto: "Auto") -> None:
    together = torch.distributed.is_available() and torch.distributed.is_initialized()
    processes = torch.distributed.get_world_size() if together else int(os.environ.get("WORLD_SIZE") or 1)
    if processes > 1:
        raise UserError(
            f"attention.allow_approximate=true cannot choose in {processes} processes at once, each by its own clock: "
            f"name the rule (attention={' or attention='.join(auto.rules)}), or train in one (trainer.devices=1)."
        )


def _case(auto: "Auto", length: int, mask: str) -> Case:
    """One row of `length` tokens in fp32: precision comes later."""
    device, n = auto.taken.device, rounded(length)
    size = (1, auto.heads, auto.kv_heads, auto.head_dim, n, n)
    words = mask if auto.pattern is None else f"{mask}+{auto._shared_pattern}"
    return Case(device, torch.float32, *size, words, "no bias", 0.0, True)


def _raced(auto: "Auto", length: int) -> Found:
    total: Found = dict.fromkeys([SOFTMAX, *auto.rules], 0.0)
    for case, mask in _both(auto, length):
        # Whoever asks, in a validation or under autocast: what is timed is a training in fp32.
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(case.device.type, enabled=False):
            row = {SOFTMAX: _softmax(case, mask, auto)}
            row |= {name: attempt(partial(_timed, rule, case, mask, auto)) for name, rule in auto.rules.items()}
        for name, took in row.items():
            total[name] = total[name] if isinstance(total[name], str) else _sum(total[name], took)
    return total


def _sum(before: float, took: float | str) -> float | str:
    return took if isinstance(took, str) else before + took


def _softmax(case: Case, mask: Mask, auto: "Auto") -> float | str:
    """Its fastest kernel's time."""
    return min(timed(race(case, candidates(), mask.within(auto.pattern), None)).values(), default="no kernel could run")


def _both(auto: "Auto", length: int) -> Iterator[tuple[Case, Mask]]:
    n = rounded(length)
    for causal in (True, False):
        yield _case(auto, length, "causal" if causal else "full"), Mask(n, n, causal=causal)


def _timed(rule: Attention, case: Case, mask: Mask, auto: "Auto") -> float | str:
    if auto.pattern is not None:
        return "it knows no patterns"
    with aside(case.device):
        # A rule's own numbers are the model's; they travel to the device as a copy.
        there = deepcopy(rule).to(case.device)
        given = inputs(case, mask, None)
        reason = there.why_not(given.q, given.k, given.mask, None)
        if reason is not None:
            return reason

        def attend() -> Tensor:
            return there.attend(given.q, given.k, given.v, given.mask, None)

        return seconds(call(attend, given, case), case.device)


def _sentence(found: Found, rule: str, case: Case, length: int) -> str:
    times = ", ".join(f"{name} {s * 1e3:.3g} ms" for name, s in timed(found).items())
    out = "".join(f"; {name} is out: {reason}" for name, reason in found.items() if isinstance(reason, str))
    others = " or ".join(name for name in found if name != SOFTMAX)
    given_up = (
        f"{others} gives up softmax's sharp choice of single keys and is another function: weights trained with "
        "one serve no other"
    )
    where = f"at {length} tokens on {case.device.type}"
    return f"attention.allow_approximate=true takes {rule} {where} ({times}{out}): {given_up}."
