"""Softmax attention by whichever exact kernel is fastest here: found by measuring, remembered between runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from manyheads.attention.base import Attention
from manyheads.attention.bias import Bias
from manyheads.attention.choice import ANY
from manyheads.attention.exact import Compute
from manyheads.attention.kernels.registry import find
from manyheads.attention.mask import Mask
from manyheads.attention.patterns.base import Pattern
from manyheads.attention.race import Case, candidates, case_of, race
from manyheads.attention.rules import SOFTMAX, fastest_rule
from manyheads.attention.softmax import Softmax
from manyheads.attention.timings import fastest, tell, timed, timings

SMALL = 1 << 15
"""Scores up to which nothing is measured: such a call is over in microseconds, whichever kernel it is."""


class Auto(Softmax):
    """Softmax whose kernel is chosen for device, type, sizes and kind of mask, anew for each of these.

    cache: folder that remembers measurements. Up to SMALL scores, and while `torch.compile` traces or a CUDA graph is
        captured, nothing is measured: then the kernel that was measured last serves, or else the first that can run.
        Kernels that fail, and `race.SLOW_STARTERS`, are left out.
    allow_approximate: let the rules of `approximations` (name: factory) compete too. They are other functions of the
        same weights, so this is decided once, for `length` tokens, by the first who asks for the `rule`: the checks
        before a training, or its first pass. state_dict tells which it was, and who loads one takes its choice over
        without any measurement. Several processes take only what is remembered (see `fastest_rule`).
    """

    def __init__(
        self,
        heads: int,
        head_dim: int,
        layer: int,
        kv_heads: int | None,
        dropout: float,
        pattern: Pattern | None,
        cache: str,
        allow_approximate: bool,
        length: int,
        approximations: dict[str, Callable[..., Attention]],
    ) -> None:
        super().__init__(heads, head_dim, layer, kv_heads, ANY, dropout, False, pattern)
        self.cache, self._shared_pattern = str(Path(cache).expanduser().absolute()), pattern
        # Two lists, kept as dicts for their order: what was measured names the run, not the handful of tiny calls.
        self._measured: dict[str, None] = {}
        self._unmeasured: dict[str, None] = {}
        self.length, self._rule = length, None if allow_approximate else SOFTMAX
        if allow_approximate:
            self._admit(approximations)

    @property
    def rule(self) -> str:
        """Softmax, or the one of `rules` that stands in its place."""
        if self._rule is None:
            self._rule = fastest_rule(self, self.length)
        return self._rule

    @property
    def exact(self) -> bool:
        return self.rule == SOFTMAX

    @property
    def recurrent(self) -> bool:
        return self.rule != SOFTMAX and self.rules[self.rule].recurrent

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Bias | None = None) -> Tensor:
        if self.rule != SOFTMAX:
            return self.rules[self.rule].attend(q, k, v, mask, bias)
        return super().attend(q, k, v, mask, bias)

    def weights(self, q: Tensor, k: Tensor, mask: Mask, bias: Bias | None = None, rows: Tensor | None = None) -> Tensor:
        if self.rule != SOFTMAX:
            return self.rules[self.rule].weights(q, k, mask, bias, rows)
        return super().weights(q, k, mask, bias, rows)

    def why_not(self, q: Tensor, k: Tensor, mask: Mask, bias: Bias | None = None) -> str | None:
        return None if self.rule == SOFTMAX else self.rules[self.rule].why_not(q, k, mask, bias)

    def advance(self, *given: Any) -> tuple[Tensor, Any]:
        """As the rule that was taken does it, where it is `recurrent`."""
        return self.rules[self.rule].advance(*given)

    def keep(self, heads: tuple[int, ...], kv_heads: tuple[int, ...]) -> None:
        super().keep(heads, kv_heads)
        # What is timed stays named by the pattern that all layers share: which heads are left of it costs nothing.
        for rule in getattr(self, "rules", {}).values():
            rule.keep(heads, kv_heads)

    @property
    def used(self) -> str:
        """The kernels that computed, in the order of their first use; or the rule that took their place."""
        if self.rule != SOFTMAX:
            return self.rules[self.rule].used
        return "+".join(self._measured or self._unmeasured) or self.kernel

    def choose(self, q: Tensor, k: Tensor, mask: Mask, bias: Bias | None, shift: Tensor | None) -> Compute:
        if not _measurable(q, k):
            return super().choose(q, k, mask, bias, shift)
        dropout = self.dropout if self.training else 0.0
        found = self._timed(case_of(q, k, mask, bias, dropout, self._shared_pattern), mask, bias)
        # What was timed on rounded sizes may refuse the true ones; the next fastest then takes over.
        able = {name: s for name, s in found.items() if find(name).why_not(q, k, mask, bias, shift) is None}
        if not able:
            return super().choose(q, k, mask, bias, shift)
        name = fastest(able)
        self._measured.setdefault(name)
        self.choice.put_first(name)
        return find(name).attend

    def _timed(self, case: Case, mask: Mask, bias: Bias | None) -> dict[str, float]:
        """Seconds by kernel, measured here and now unless they are known."""
        table, key = timings(self.cache, case.device), str(case)
        if key not in table.known:
            table.add(key, race(case, candidates(), mask, bias))
        tell(table, key)
        return timed(table.known[key])

    def _note(self, name: str, refused: str | None) -> None:
        self._unmeasured.setdefault(name)

    # --- other rules ------------------------------------------------------------------------------------------------

    def _admit(self, approximations: dict[str, Callable[..., Attention]]) -> None:
        size = {"heads": self.heads, "head_dim": self.head_dim, "layer": self.layer, "kv_heads": self.kv_heads}
        self.rules = nn.ModuleDict({name: make(**size) for name, make in approximations.items()})
        # One of them is true. Not a number: running means of weights average numbers.
        self.register_buffer("taken", torch.zeros(1 + len(self.rules), dtype=torch.bool))
        self.register_state_dict_pre_hook(_name_rule)
        self.register_load_state_dict_post_hook(_take_over)


def _name_rule(module: Auto, *_: object) -> None:
    """Before a state_dict goes out: its weights belong to the rule that it names."""
    module.taken.copy_(torch.tensor([name == module.rule for name in (SOFTMAX, *module.rules)]))


def _take_over(module: Auto, keys: object) -> None:
    """After a state_dict came in: its weights were trained with the rule that it names."""
    if module.taken.any():
        module._rule = [SOFTMAX, *module.rules][module.taken.tolist().index(True)]


def _measurable(q: Tensor, k: Tensor) -> bool:
    """Whether a clock would tell anything: on real tensors, in plain Python, of more than a few scores."""
    if torch.compiler.is_compiling() or type(q) is not Tensor or q.device.type == "meta":
        return False
    if q.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        return False
    return q.size(0) * q.size(1) * q.size(2) * k.size(2) > SMALL
