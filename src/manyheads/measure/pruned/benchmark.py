"""Quality against sparsity of one run: its prunings, their table, figure and conclusions."""

import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from manyheads import atomic
from manyheads.config.resume import run_folder
from manyheads.errors import UserError
from manyheads.measure.pruned import quality
from manyheads.measure.pruned.asked import Pruning
from manyheads.measure.pruned.cells import DENSE, NEVER, Cell, command, plan, refuse_own
from manyheads.measure.pruned.conclusions import missing, percent, sentences, title
from manyheads.measure.pruned.runs import leave_out, refuse_other, run, said
from manyheads.sweep.job import begun

Row = dict[str, Any]


def benchmark(asked: Pruning, overrides: list[str]) -> Row:
    """Runs what has not run, gathers all, writes the files and prints the sentences."""
    from manyheads.measure.pruned.gather import counting, gather, measured

    asked = replace(asked, run=run_folder(asked.run))
    quality.mode_of(asked.metric)
    measured(asked.run, asked.metric)
    refuse_own(overrides)
    cells = plan(asked)
    if asked.train:
        _run(cells, asked, overrides)
    found = gather(asked.run, cells, asked.metric, counting(asked.run))
    publish(found, asked)
    return found


def publish(found: Row, asked: Pruning) -> None:
    """The JSON file, and a table and a figure beside it."""
    from manyheads.measure.pruned.curves import curves
    from manyheads.training import record

    path = asked.output or asked.folder / "pruning.json"
    told = sentences(found, asked.bar)
    about = {"date": time.strftime("%Y-%m-%d"), "bar": asked.bar, "environment": record.environment()}
    content = {**about, **found, "sentences": told}
    atomic.write_text(path, json.dumps(content, indent=1) + "\n")
    atomic.write_text(path.with_suffix(".md"), markdown(content, path))
    picture = curves(found, asked.bar)
    atomic.write(path.with_suffix(".png"), partial(picture.savefig, format="png", dpi=150))
    print("\n".join([*told, *missing(found), f"{path.with_suffix('.md')}"]))


def markdown(content: Row, path: Path) -> str:
    base = content["base"]
    return "\n".join(
        [
            f"# Quality against sparsity: {Path(base['folder']).name}", "",
            f"- base: {base['folder']}, {content['metric']} = {base['quality']:.4g} ({_direction(content)}); "
            f"{base['whole']:,} parameters, {base['prunable']:,} of them in prunable sublayers, "
            f"{base['embedding']:,} in tables; {base['flops_per_token'] / 1e6:.3f} MFLOP per token",
            "- shares: of what is gone, recounted on the models; losses: relative, above 0 is worse; one run each",
            f"- {title(DENSE)}: from new weights at the size that magnitude left, for as many steps as the training of "
            "the base and that pruning took together",
            f"- {content['date']}, {content['environment']['device']}", "",
            f"![quality against sparsity]({path.with_suffix('.png').name})", "",
            *_table(content), "",
            *(f"- {sentence}" for sentence in content["sentences"]), "",
            "## Commands", "", "```",
            *(row["command"] for row in [base, *content["rows"]] if row["command"]), "```",
        ]
    ) + "\n"  # fmt: skip


HEAD = ("", "target", "prunable", "whole", "FLOPs", "file", "quality", "loss to base", "loss to control", "steps")


def _table(content: Row) -> list[str]:
    lines = [f"| {' | '.join(HEAD)} |", "|---|" + "--:|" * (len(HEAD) - 1)]
    base = content["base"]
    lines.append(f"| base | | 0 | 0 | 0 | 1.000 | {base['quality']:.4g} | 0 | | {_number(base['steps'])} |")
    return lines + [f"| {' | '.join(_cells(row))} |" for row in content["rows"] if row["why"] != NEVER]


def _cells(row: Row) -> list[str]:
    head = [title(row["method"]), percent(row["target"])]
    if row["reached"] is None:
        return [*head, str(row["why"]), *[""] * 7]
    shares = [_percent(row["reached"][key]) for key in ("prunable", "whole", "flops")]
    losses = [_percent(row[key], 2) for key in ("loss", "loss_to_control")]
    value = "—" if row["quality"] is None else f"{row['quality']:.4g}"
    return [*head, *shares, f"{row['file']:.3f}", value, *losses, _number(row["steps"])]


def _run(cells: list[Cell], asked: Pruning, overrides: list[str]) -> None:
    for cell in cells:
        if begun(cell.folder) and cell.method != DENSE:  # before anything runs; a dense one waits for its size
            refuse_other(cell, command(cell, asked, overrides))
    try:
        for cell in cells:
            _run_one(cell, asked, overrides)
    except KeyboardInterrupt:
        said("Interrupted. The same command goes on.")
        raise SystemExit(130) from None


def _run_one(cell: Cell, asked: Pruning, overrides: list[str]) -> None:
    try:
        known = command(cell, asked, overrides)
    except UserError as problem:  # a dense one whose size is not there
        leave_out(cell, str(problem))
        return
    refuse_other(cell, known)
    run(cell, known, asked.retry)


def _direction(content: Row) -> str:
    return "more is better" if content["best"] == "max" else "less is better"


def _percent(value: float | None, digits: int = 1) -> str:
    return "—" if value is None else f"{value:.{digits}%}"


def _number(value: int | None) -> str:
    return "—" if value is None else f"{value:,}"
