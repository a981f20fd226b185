"""`python scripts/report.py FOLDER…`"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from manyheads.config.arguments import guarded, parse, usage
from manyheads.report.content import Content
from manyheads.report.costs import Cost
from manyheads.report.write import report


@dataclass(frozen=True)
class Report:
    """What runs tell together: python scripts/report.py FOLDER … [KEY=VALUE …], with folders of runs or of sweeps."""

    output: Path | None = field(default=None, metadata={"help": "where to; null: the folder in which all runs are"})
    metric: str | None = field(default=None, metadata={"help": "as test/accuracy; null: what the runs' task watches"})
    cost: Cost | None = field(default=None, metadata={"help": "what is to be saved; null: time, by tokens_per_second"})
    level: float | None = field(default=None, metadata={"help": "to which time is counted; null: what all runs reach"})


def main(argv: Sequence[str] | None = None) -> None:
    sys.exit(guarded(lambda: _run(list(sys.argv[1:] if argv is None else argv))))


def _run(argv: list[str]) -> None:
    # A folder may have any name, also one with = in it.
    folders = [one for one in argv if not one.startswith("-") and ("=" not in one or Path(one).exists())]
    asked = parse(Report, [one for one in argv if one not in folders])
    if not folders:
        print(usage(Report))
        return
    page, content = report([Path(one) for one in folders], asked.output, asked.metric, asked.cost, asked.level)
    show(page, content)


def show(page: Path, content: Content) -> None:
    """The answer, and where the rest is."""
    print(content.counted)
    for part in content.parts:
        print(f"\n{part.section.title}", *part.words.all, sep="\n")
    print(f"\nThe report is {page}, with report.md and report.csv beside it.")
