"""The findings as a table, or as one JSON object."""

import json
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from manyheads.doctor.checks import SECTIONS, Check, Findings

MARKS = {"green": "[green]✓[/]", "yellow": "[yellow]![/]", "red": "[red bold]✗[/]"}
"""Signs as well as colours: not everyone sees these apart, and a file has none."""


def show(found: Findings) -> None:
    console = Console()
    table = Table(show_header=False, title="Doctor", title_justify="left")
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for section in SECTIONS:
        for number, check in enumerate(found.of(section)):
            table.add_row("" if number else f"[bold]{section}[/]", _head(check), escape(check.sentence))
        table.add_section()
    console.print(table)
    console.print(_end(found))


def content(found: Findings, seconds: float) -> dict[str, Any]:
    """What --json prints: `ok`, and every check with its details."""
    checks = [
        {"section": c.section, "name": c.name, "light": c.light, "sentence": c.sentence, "details": c.details}
        for c in found.checks
    ]
    return {"ok": not found.sick, "seconds": round(seconds, 1), "checks": checks}


def print_json(found: Findings, seconds: float) -> None:
    print(json.dumps(content(found, seconds), indent=2, ensure_ascii=False, default=str))


def _head(check: Check) -> str:
    return f"{MARKS[check.light]} {escape(check.name)}"


def _end(found: Findings) -> str:
    lights = [check.light for check in found.checks]
    red, yellow = lights.count("red"), lights.count("yellow")
    if red:
        return f"[red bold]{red} wrong[/], {yellow} to look at: this run would fail, or say nothing."
    return f"Nothing is wrong{f', {yellow} to look at' if yellow else ''}: this run can begin."
