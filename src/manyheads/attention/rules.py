"""Which rule is fastest: softmax by its best kernel, or one that only stands near it.

A rule is a function, not a way to compute one: weights trained with one do not serve another. So it is never chosen
unless asked for, and never later than a model is made.
"""

import logging
from collections.abc import Iterator
from copy import deepcopy
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from manyheads.attention.base import Attention
from manyheads.attention.kernels.registry import names
from manyheads.attention.mask import Mask
from manyheads.attention.race import Case, Found, aside, call, inputs, race, rounded, seconds
from manyheads.attention.timings import fastest, timings

if TYPE_CHECKING:
    from manyheads.attention.auto import Auto

log = logging.getLogger(__name__)

SOFTMAX = "softmax"


def fastest_rule(auto: "Auto", length: int) -> str:
    """The fastest of softmax and `auto.rules`, forward and backward, a causal pass and a full one together."""
    case = _case(auto, length, "full")
    table, key = timings(auto.cache, case.device), f"{case} · rules: {', '.join(auto.rules)}"
    if key not in table.known:
        table.add(key, _raced(auto, length))
    found = table.known[key]
    rule = fastest({name: s for name, s in found.items() if isinstance(s, float)})
    if key not in table.told:
        table.told.add(key)
        log.warning("%s", _sentence(found, rule, length))
    return rule


def _case(auto: "Auto", length: int, mask: str) -> Case:
    """One row of `length` tokens on the device that a training would take, in fp32: precision comes later."""
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    n = rounded(length)
    size = (1, auto.heads, auto.kv_heads, auto.head_dim, n, n)
    words = mask if auto.pattern is None else f"{mask}+{auto._shared_pattern}"
    return Case(device, torch.float32, *size, words, "no bias", 0.0, True)


def _raced(auto: "Auto", length: int) -> Found:
    total: Found = dict.fromkeys([SOFTMAX, *auto.rules], 0.0)
    for case, mask in _both(auto, length):
        exact = race(case, names(), mask.within(auto.pattern), None)
        total[SOFTMAX] += min(s for s in exact.values() if isinstance(s, float))
        for name, rule in auto.rules.items():
            took = _timed(rule, case, mask, auto)
            total[name] = took if isinstance(took, str) or isinstance(total[name], str) else total[name] + took
    return total


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


def _sentence(found: Found, rule: str, length: int) -> str:
    times = ", ".join(f"{name} {s * 1e3:.3g} ms" for name, s in found.items() if isinstance(s, float))
    out = "".join(f"; {name} is out: {reason}" for name, reason in found.items() if isinstance(reason, str))
    others = " or ".join(name for name in found if name != SOFTMAX)
    given_up = (
        f"{others} gives up softmax's sharp choice of single keys and is another function: weights trained with "
        "one serve no other"
    )
    return f"attention.allow_approximate=true takes {rule} at {length} tokens ({times}{out}): {given_up}."
