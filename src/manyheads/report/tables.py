"""The tables of a section, for every format."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from manyheads.report import costs, metrics
from manyheads.report.runs import Run
from manyheads.report.section import Section, spread

NOTHING = "—"


@dataclass(frozen=True)
class Cell:
    """text: as shown; value: what it is sorted by, where that is a number; note: what is said on top of it."""

    text: str
    value: float | None = None
    note: str | None = None


@dataclass(frozen=True)
class Table:
    """headings: the first is that of the row's name. key: a row to stand out."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    key: str | None = None


def groups(section: Section) -> Table:
    """A row for each group with a score, best first."""
    timed = section.level is not None
    paid = [name for name in costs.AXES if any(section.measured(label, name) is not None for label in section.quality)]
    to_level = [f"seconds to {metrics.figure(section.level)}"] if timed else []
    headings = ("attention", metrics.title(section.metric), "± over seeds", "seeds", "taken in")
    rows = [_group(section, label, paid, timed) for label in section.quality]
    titles = [f"{costs.AXES[name].heading}{_unit(name)}" for name in paid]
    taken = section.choice.taken if section.choice else None
    return Table("Attentions", (*headings, *to_level, *titles), tuple(rows), _meaning(section), taken)


def _group(section: Section, label: str, paid: Sequence[str], timed: bool) -> tuple[Cell, ...]:
    values, choice = section.quality[label], section.choice
    of, share = len(section.group(label).runs), choice.shares[label]
    own = spread(values)
    marks = [word for word, there in _marks(section, label) if there]
    shown = [section.measured(label, name) for name in paid]
    reached = section.seconds_to_level(label) if timed else []
    seconds = sum(reached) / len(reached) if reached else None
    few = "" if len(reached) == len(values) else f" ({len(reached)} of {len(values)})"
    return (
        Cell(label, note=", ".join(marks) or None),
        Cell(metrics.figure(section.means[label]), section.means[label]),
        Cell(metrics.figure(own), own),
        Cell(f"{len(values)}" + (f" of {of}" if of > len(values) else ""), len(values)),
        Cell(f"{share:.0%}", share),
        *([Cell(NOTHING if seconds is None else f"{seconds:,.1f}{few}", seconds)] if timed else []),
        *(Cell(costs.AXES[n].shown(value), value) for n, value in zip(paid, shown, strict=True)),
    )


def _marks(section: Section, label: str) -> list[tuple[str, bool]]:
    choice = section.choice
    return [
        ("taken", label == choice.taken),
        ("best", label == choice.best),
        ("within one SE", label in choice.within and label != choice.best),
        ("on the front", label in section.front),
    ]


def _meaning(section: Section) -> str:
    told = [
        f"± is the standard deviation over seeds; “taken in” the share of resamples of {section.unit} that take it."
    ]
    if section.level is not None:
        told.append(
            f"“seconds to {metrics.figure(section.level)}”: training until {metrics.title(section.watched)} was "
            f"there, {_which(section)}."
        )
    told.append("“on the front”: no other is as good for less.")
    if all(section.measured(label, "energy_joules") is None for label in section.quality):
        told.append("Energy was not measured: this machine has no counter that can be read.")
    return " ".join(told)


def _which(section: Section) -> str:
    if section.asked_level is not None:
        return "as asked for by level="
    better = "" if len(section.worth) == len(section.quality) else " of the attentions that beat the baseline"
    return f"the level that every run{better} reached; in brackets how many of a row did, where not all"


def comparisons(section: Section) -> Table:
    """A row for each pair, the better one first."""
    rows = [
        (
            Cell(f"{c.one} over {c.other}"),
            Cell(metrics.figure(c.difference), c.difference),
            Cell(_between(c.interval), c.interval and c.interval[0]),
            Cell(_p(c.p), c.p),
            Cell(
                NOTHING if c.difference_of_examples is None else f"{c.difference_of_examples:+.3f}",
                c.difference_of_examples,
            ),
            Cell(_p(c.p_examples), c.p_examples),
        )
        for c in section.comparisons
    ]
    headings = ("pair", "better by", "95 % interval", "p, seeds", "by examples", "p, examples")
    return Table("Differences", headings, tuple(rows), _tests(section))


def _tests(section: Section) -> str:
    found = section.comparisons
    seeds = max((c.seeds for c in found), default=0)
    told = ["Paired tests by sign flips, two-sided, corrected by Holm for the number of pairs."]
    if 1 < seeds < 6:
        told.append(
            f"{seeds} seeds cannot give p below {2 / 2**seeds:g}, and that before correction, whatever the difference."
        )
    if any(c.examples for c in found):
        of = next(iter(section.scores.values())).of
        count = max(c.examples for c in found)
        told.append(
            f"“Examples” are {count:,} {of}, each the mean over seeds: they say whether these trained models differ on "
            "other texts of the kind, not whether other seeds would."
        )
    return " ".join(told)


def runs(section: Section) -> Table:
    """A row for each run, with the scores of its kind."""
    split = (section.metric or "test/").partition("/")[0]
    known = [run.found.get(split) or {} for run in section.runs]
    names = [name for name in metrics.NAMES if any(name in part for part in known)]
    names = [name for name in names if name != "nll" or "loss" not in names]  # without label smoothing they are one
    labels = {run.folder: group.label for group in section.groups for run in group.runs}
    rows = [_run(section, run, labels[run.folder], [f"{split}/{name}" for name in names]) for run in section.runs]
    titles = [f"{metrics.NAMES[name]}" for name in names]
    watched = [metrics.title(section.watched)] if section.watched else []
    headings = ("run", "attention", "seed", "status", *titles, *watched, "tokens a second", "training [s]")
    return Table("Runs", tuple(headings), tuple(rows), f"Scores are those on {split}.")


def _run(section: Section, run: Run, label: str, names: Sequence[str]) -> tuple[Cell, ...]:
    values = [run.value(name) for name in names]
    values += [run.value(section.watched)] if section.watched else []
    speed, seconds = run.value("cost/tokens_per_second"), run.value("cost/train_seconds")
    return (
        Cell(run.name),
        Cell(label),
        Cell(str(run.seed), _number(run.seed)),
        Cell(run.status),
        *(Cell(metrics.figure(value), value) for value in values),
        Cell(costs.AXES["tokens_per_second"].shown(speed), speed),
        Cell(costs.AXES["train_seconds"].shown(seconds), seconds),
    )


def unfinished(runs: Sequence[Run]) -> Table:
    rows = [(Cell(run.name), Cell(run.status), Cell(run.reason or "no reason was given")) for run in runs]
    return Table("Not finished", ("run", "status", "reason"), tuple(rows))


def _unit(name: str) -> str:
    unit = costs.AXES[name].unit
    return f" [{unit}]" if unit else ""


def _between(found: tuple[float, float] | None) -> str:
    return NOTHING if found is None else f"{metrics.figure(found[0])} to {metrics.figure(found[1])}"


def _p(p: float | None) -> str:
    return NOTHING if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
