"""The files of a benchmark: JSON, markdown and a figure of the same name."""

import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from manyheads import atomic
from manyheads.training import record

Row = list[str]


def write(output: Path, command: str, content: dict[str, Any], text: str, figure: Figure) -> None:
    about = {"date": time.strftime("%Y-%m-%d"), "command": command, "threads": torch.get_num_threads()}
    about |= {"device": record.device_name(torch.device("cpu")), "environment": _environment()}
    atomic.write_text(output.with_suffix(".json"), json.dumps({**about, **content}, indent=2) + "\n")
    said = f"Measured on {about['date']}, {about['device']}, with `{command}`."
    atomic.write_text(output.with_suffix(".md"), f"{text}\n{said}\n")
    atomic.write(output.with_suffix(".png"), partial(figure.savefig, format="png", dpi=130))


def _environment() -> dict[str, Any]:
    """Versions; how the process was called is a matter of the machine, and said above as one types it."""
    return {key: value for key, value in record.environment().items() if key != "command"}


def command(name: str, asked: Any, defaults: dict[str, Any], overrides: list[str]) -> str:
    """As one types it: what differs from the defaults."""
    own = [f"{key}={value}" for key, value in vars(asked).items() if key not in ("train", *_same(asked, defaults))]
    return " ".join(["python scripts/benchmark.py", name, *own, *overrides])


def _same(asked: Any, defaults: dict[str, Any]) -> list[str]:
    return [key for key, value in defaults.items() if getattr(asked, key) == value]


def table(head: Row, rows: list[Row]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)
