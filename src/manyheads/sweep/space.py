"""A search space in Hydra's own syntax: choice(), range(), interval(), with int() and tag(log, ...)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from manyheads.errors import UserError

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Axis:
    """One value that is searched: any of `choices`, or what lies from low to high, both included.

    step: null for any number between; log: drawn evenly on a logarithmic scale.
    """

    choices: tuple[str, ...] = ()
    low: float | int = 0
    high: float | int = 0
    step: float | int | None = None
    log: bool = False

    def suggest(self, trial: "optuna.Trial", key: str) -> Any:
        """The trial's value; the one that it has, if it has one."""
        if self.choices:
            return trial.suggest_categorical(key, self.choices)
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(key, self.low, self.high, step=self.step or 1, log=self.log)
        return trial.suggest_float(key, self.low, self.high, step=self.step, log=self.log)

    def ends(self) -> list[Any]:
        """Values that compose if all do."""
        return list(self.choices) or [self.low, self.high]

    def values(self, key: str) -> list[Any]:
        """All of them. Raises UserError where there is no end of them."""
        if self.choices:
            return list(self.choices)
        if self.step is None:
            raise UserError(f"{key}: a grid has no values for interval(); write range(...), choice(...) or a,b,c.")
        # Counted, since adding up rounds.
        count = round((self.high - self.low) / self.step) + 1
        return [self.low + i * self.step for i in range(count)]


def read_space(params: Mapping[str, Any], arguments: Sequence[str], loader: Any) -> tuple[dict[str, Axis], list[str]]:
    """The axes, and the overrides that are the same for every trial. The command line wins over yaml's `params`.

    Raises UserError with the key that cannot be searched so.
    """
    written = [f"{key}={_text(value)}" for key, value in params.items()]
    parsed = {o.get_key_element(): o for o in OverridesParser.create(loader).parse_overrides([*written, *arguments])}
    axes = {key: _axis(key, override) for key, override in parsed.items() if override.is_sweep_override()}
    fixed = [o for o in parsed.values() if not o.is_sweep_override()]
    return axes, [f"{o.get_key_element()}={o.get_value_element_as_str()}" for o in fixed]


def _axis(key: str, override: Override) -> Axis:
    value = override.value()
    tags = getattr(value, "tags", set())
    if getattr(value, "shuffle", False):
        value.shuffle = False  # an order means nothing to a search, and would be another one after a restart
    if unknown := tags - {"log"}:
        raise UserError(f"{key}: there is no tag {sorted(unknown)[0]}; the only one is tag(log, ...).")
    try:
        if isinstance(value, IntervalSweep):
            return _ordered(Axis(low=value.start, high=value.end, log="log" in tags))
        if isinstance(value, RangeSweep):
            return _ordered(_range(value, "log" in tags))
    except ValueError as problem:
        raise UserError(f"{key}: {problem}.") from problem
    if "log" in tags:
        raise UserError(f"{key}: choices have no scale; tag(log, ...) goes with interval() and range().")
    return Axis(choices=tuple(dict.fromkeys(override.sweep_string_iterator())))


def _range(value: RangeSweep, log: bool) -> Axis:
    """Hydra leaves the end out, as Python does; a distribution includes it."""
    values = list(value.range())
    if not values:
        raise ValueError("the range is empty")
    if log and value.step != 1:
        raise ValueError("tag(log, range(...)) takes no step")
    return Axis(low=min(values), high=max(values), step=None if log else abs(value.step), log=log)


def _ordered(axis: Axis) -> Axis:
    if axis.low > axis.high:
        raise ValueError(f"{axis.low} is more than {axis.high}")
    if axis.log and axis.low <= 0:
        raise ValueError("a logarithmic scale starts above 0")
    return axis


def _text(value: Any) -> str:
    """A list of yaml's is a choice of its items."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def fingerprint(axes: Mapping[str, Axis]) -> str:
    """By which a study knows its own space again."""
    return json.dumps({key: vars(axis) for key, axis in sorted(axes.items())}, sort_keys=True)
