"""What a report holds, before it has a format."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from manyheads.errors import UserError
from manyheads.report import costs, groups, runs
from manyheads.report.runs import Run
from manyheads.report.section import Section, section
from manyheads.report.words import Words, words


@dataclass(frozen=True)
class Part:
    """A section and what it comes to."""

    section: Section
    words: Words


@dataclass(frozen=True)
class Content:
    """root: the folder in which all runs are, as it was given; parts: one for each data set."""

    root: str
    runs: tuple[Run, ...]
    parts: tuple[Part, ...]

    @cached_property
    def unreadable(self) -> list[Run]:
        """Runs that are in no part, since nobody knows of which data they were."""
        return [run for run in self.runs if run.unreadable is not None]

    @property
    def counted(self) -> str:
        """12 runs: 10 finished, 2 failed."""
        counts: dict[str, int] = {}
        for run in self.runs:
            counts[run.status] = counts.get(run.status, 0) + 1
        words = ", ".join(f"{count} {status}" for status, count in counts.items())
        return f"{len(self.runs)} run{'s' if len(self.runs) != 1 else ''}: {words}"

    @property
    def machines(self) -> list[str]:
        found = [(run.found.get("cost") or {}).get("device") for run in self.runs]
        return list(dict.fromkeys(str(device) for device in found if device))


def gather(
    folders: Sequence[Path], metric: str | None = None, cost: costs.Cost | None = None, level: float | None = None
) -> Content:
    """Reads the runs in and below these folders. Raises UserError where there are none, or none has `metric`."""
    found = runs.find(list(folders))
    made = [section(title, members, metric, cost, level) for title, members in groups.sections(found)]
    if metric is not None and not any(one.quality for one in made):
        raise UserError(f"metric={metric} was measured by no run here.{known_metrics(found)}")
    root = str(folders[0]) if len(folders) == 1 else str(runs.common(list(folders)))
    return Content(root, tuple(found), tuple(Part(one, words(one)) for one in made))


def known_metrics(found: Sequence[Run]) -> str:
    names = {f"{split}/{name}" for run in found for split in ("val", "test") for name in run.found.get(split) or {}}
    return f" Known: {', '.join(sorted(names))}." if names else ""
