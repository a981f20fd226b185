"""All that is said about the runs of one data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any

from manyheads.report import costs, examples, metrics, stats
from manyheads.report.choice import Choice, choose, pareto
from manyheads.report.groups import Group
from manyheads.report.runs import Run

BUSY = 1.3
"""Speeds of one attention that differ more than so many times between seeds were measured on a machine that did other
work, too."""

PAIRS = 28
"""Eight groups are compared each with each; of more, the best with each: the more tests, the less each can show."""


@dataclass(frozen=True)
class Comparison:
    """one is better than other by `difference` (never negative), in the metric; by examples: theirs, in their score.

    p, p_examples: corrected for the number of comparisons; None where there is nothing to pair.
    """

    one: str
    other: str
    difference: float | None
    interval: tuple[float, float] | None
    seeds: int
    p: float | None
    examples: int
    difference_of_examples: float | None
    p_examples: float | None


@dataclass(frozen=True)
class Section:
    """title: of the data; groups: at least one; metric: None where no run has one. asked_level: of what the runs watch,
    to which time is counted; None: see `level`.
    """

    title: str
    groups: tuple[Group, ...]
    metric: str | None
    cost: costs.Cost
    notes: tuple[str, ...]
    asked_level: float | None = None

    @property
    def runs(self) -> list[Run]:
        return [run for group in self.groups for run in group.runs]

    @cached_property
    def less(self) -> bool:
        return self.metric is not None and metrics.less_is_better(self.metric, self.runs)

    @cached_property
    def quality(self) -> dict[str, dict[Any, float]]:
        """By group and seed; groups without any are left out. Best first."""
        found = {group.label: group.by_seed(self.metric) for group in self.groups} if self.metric else {}
        means = {label: stats.mean(list(values.values())) for label, values in found.items() if values}
        return {label: found[label] for label in sorted(means, key=lambda one: means[one], reverse=not self.less)}

    @cached_property
    def means(self) -> dict[str, float]:
        return {label: stats.mean(list(values.values())) for label, values in self.quality.items()}

    @cached_property
    def compared(self) -> dict[str, dict[Any, float]]:
        """Quality over the seeds that all groups have, since one may be luckier than another; over all where none is
        shared.
        """
        shared = set.intersection(*map(set, self.quality.values())) if self.quality else set()
        kept = {label: {s: v for s, v in own.items() if s in shared} for label, own in self.quality.items()}
        return kept if shared else self.quality

    @cached_property
    def compared_means(self) -> dict[str, float]:
        return {label: stats.mean(list(values.values())) for label, values in self.compared.items()}

    def group(self, label: str) -> Group:
        return next(group for group in self.groups if group.label == label)

    def measured(self, label: str, name: str) -> float | None:
        """The mean of a cost over the seeds that have it."""
        found = [run.value(f"cost/{name}") for run in self.group(label).finished]
        known = [value for value in found if value is not None]
        return stats.mean(known) if known else None

    @cached_property
    def spent(self) -> dict[str, dict[Any, float]]:
        """The chosen cost by group and seed."""
        axis = costs.AXES[self.cost]
        values = {label: self.group(label).by_seed(f"cost/{self.cost}") for label in self.quality}
        paid = {label: {seed: axis.cost(value) for seed, value in own.items()} for label, own in values.items()}
        return {label: {s: c for s, c in own.items() if c is not None} for label, own in paid.items()}

    @cached_property
    def mean_cost(self) -> dict[str, float]:
        return {label: stats.mean(list(own.values())) for label, own in self.spent.items() if own}

    @cached_property
    def scores(self) -> dict[str, examples.Scores]:
        """Of every group whose runs left predictions, the mean over its seeds of each example's score."""
        found = {}
        for label in self.quality:
            read = [scores for run in self.group(label).finished if (scores := examples.read(run.folder)) is not None]
            if read and len({one.of for one in read}) == 1:
                found[label] = examples.together(read)
        return found

    @cached_property
    def by_examples(self) -> bool:
        """Whether examples stand in for seeds: no attention was trained more than once, all were judged alike, by
        tests, and what is best by the metric is best by them.
        """
        if self.metric is None or not self.metric.startswith("test/"):
            return False
        once = all(len(values) == 1 for values in self.quality.values())
        alike = {(one.of, one.less) for one in self.scores.values()}
        if not (once and len(self.scores) == len(self.quality) and len(alike) == 1 and self._common):
            return False
        by = {label: stats.mean([one.by[name] for name in self._common]) for label, one in self.scores.items()}
        best = (min if alike.pop()[1] else max)(by.values())
        return by[next(iter(self.quality))] == best

    @cached_property
    def _common(self) -> list:
        first, *others = [scores.by for scores in self.scores.values()] or [{}]
        return [name for name in first if all(name in other for other in others)]

    @cached_property
    def unit(self) -> str:
        """What the standard error is over."""
        return "examples" if self.by_examples else "seeds"

    @cached_property
    def choice(self) -> Choice | None:
        if not self.quality:
            return None
        if self.by_examples:
            common = {label: {name: one.by[name] for name in self._common} for label, one in self.scores.items()}
            return choose(common, self.spent, next(iter(self.scores.values())).less)
        return choose(self.compared, self.spent, self.less)

    @cached_property
    def unrest(self) -> float:
        """How many times as much time one attention took with one seed as with another; 1 where no time is weighed."""
        if self.cost not in ("tokens_per_second", "train_seconds"):
            return 1.0
        paid = [list(own.values()) for own in self.spent.values() if own and min(own.values()) > 0]
        return max((max(own) / min(own) for own in paid), default=1.0)

    @cached_property
    def front(self) -> list[str]:
        return pareto(self.means, self.mean_cost, self.less)

    @cached_property
    def baseline(self) -> tuple[str, float] | None:
        """The best of what needs no model, by name."""
        runs = [run for label in self.quality for run in self.group(label).finished]
        found = [(name, value) for run in runs for name, value in metrics.baselines(run, self.metric).items()]
        return (min if self.less else max)(found, key=lambda pair: pair[1], default=None)

    @cached_property
    def beaten(self) -> list[str]:
        """Groups whose mean is no better than the baseline."""
        if self.baseline is None:
            return []
        sign = -1 if self.less else 1
        return [label for label, value in self.means.items() if sign * value <= sign * self.baseline[1]]

    @cached_property
    def worth(self) -> list[str]:
        """Groups that beat the baseline, or all where none does."""
        return [label for label in self.quality if label not in self.beaten] or list(self.quality)

    @cached_property
    def comparisons(self) -> list[Comparison]:
        labels = list(self.quality)
        pairs = list(combinations(labels, 2))
        if len(pairs) > PAIRS:
            pairs = [(labels[0], other) for other in labels[1:]]
        raw = [self._compared(one, other) for one, other in pairs]
        by_seed, by_example = (_corrected([row[place] for row in raw]) for place in ("p", "p_examples"))
        return [
            Comparison(**{**row, "p": p, "p_examples": q}) for row, p, q in zip(raw, by_seed, by_example, strict=True)
        ]

    def _compared(self, one: str, other: str) -> dict[str, Any]:
        sign = -1 if self.less else 1
        off = [sign * value for value in stats.paired(self.quality[one], self.quality[other])]
        mine, theirs = self.scores.get(one), self.scores.get(other)
        alike = mine is not None and theirs is not None and mine.of == theirs.of
        each = stats.paired(mine.by, theirs.by) if alike else []
        each = [-value for value in each] if alike and mine.less else each
        return {
            "one": one,
            "other": other,
            "difference": sign * (self.means[one] - self.means[other]),
            "interval": stats.interval(off),
            "seeds": len(off),
            "p": stats.sign_flip(off) if len(off) > 1 else None,
            "examples": len(each),
            "difference_of_examples": stats.mean(each) if each else None,
            "p_examples": stats.sign_flip(each) if len(each) > 1 else None,
        }

    @cached_property
    def watched(self) -> str | None:
        """The validation metric whose curves are drawn."""
        names = [run.monitor for label in self.quality for run in self.group(label).finished if run.monitor]
        return names[0] if names and len(set(names)) == 1 else "val/loss" if names else None

    def curve(self, run: Run) -> list[tuple[float, float]]:
        """(seconds of training, value) of what is watched: steps at the run's mean pace, validations left out, so that
        neither a pause before a resumption nor a long evaluation counts."""
        curve, steps, seconds = run.curve(self.watched or ""), run.value("train/steps"), run.value("cost/train_seconds")
        return [(step * seconds / steps, value) for step, value in curve] if steps and seconds else []

    @cached_property
    def level(self) -> float | None:
        """What was asked for; else the quality that every finished run reaches at some validation, but for those of
        attentions that are no better than the baseline, unless all are.
        """
        if self.watched is None or self.asked_level is not None:
            return self.asked_level if self.watched is not None else None
        less = metrics.less_is_better(self.watched, self.runs)
        curves = [self.curve(run) for label in self.worth for run in self.group(label).finished]
        tops = [(min if less else max)(value for _, value in curve) for curve in curves if curve]
        return (max if less else min)(tops, default=None)

    def seconds_to_level(self, label: str) -> list[float]:
        """Of each seed whose curve reaches it."""
        less, found = metrics.less_is_better(self.watched or "", self.runs), []
        for run in self.group(label).finished:
            reached = [at for at, v in self.curve(run) if (v <= self.level if less else v >= self.level)]
            found += reached[:1]
        return found


def section(
    title: str,
    groups: Sequence[Group],
    metric: str | None = None,
    cost: costs.Cost | None = None,
    level: float | None = None,
) -> Section:
    finished = [run for group in groups for run in group.finished]
    paid, note = costs.chosen(finished, cost)
    notes = (note,) if note else ()
    found = Section(title, tuple(groups), metrics.chosen(finished, metric), paid, notes, level)
    if cost is None and found.unrest > BUSY and all(run.value("cost/flops_per_token") for run in finished):
        told = (
            f"Speeds of the same attention differ by up to {found.unrest:.1f} times between seeds: the machine did "
            "other work, too, so arithmetic is compared and not time; cost=tokens_per_second weighs by time anyway."
        )
        return replace(found, cost="flops_per_token", notes=(*found.notes, told))
    return found


def _corrected(ps: Sequence[float | None]) -> list[float | None]:
    known = [p for p in ps if p is not None]
    found = iter(stats.holm(known))
    return [None if p is None else next(found) for p in ps]


def spread(values: Mapping[Any, float]) -> float | None:
    return stats.deviation(list(values.values()))
