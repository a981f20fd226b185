"""The report's three files, each there whole or not at all."""

from collections.abc import Sequence
from pathlib import Path

from manyheads import atomic
from manyheads.report import csv_file, html, markdown, runs
from manyheads.report.content import Content, gather
from manyheads.report.costs import Cost


def report(
    folders: Sequence[Path],
    output: Path | None = None,
    metric: str | None = None,
    cost: Cost | None = None,
    level: float | None = None,
) -> tuple[Path, Content]:
    """Writes report.html, report.md and report.csv to `output`, by default the folder in which all runs are.

    Returns the page and what it holds. Raises UserError for folders without runs, before anything is written.
    """
    content = gather(folders, metric, cost, level)
    texts = {
        "report.html": html.page(content),
        "report.md": markdown.page(content),
        "report.csv": csv_file.page(content),
    }
    place = output if output is not None else runs.common(list(folders))
    for name, text in texts.items():
        atomic.write_text(place / name, text)
    return place / "report.html", content
