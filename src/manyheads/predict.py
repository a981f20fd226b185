"""Translates a file, or what is typed, with a finished run."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from manyheads.config.arguments import guarded, parse
from manyheads.config.threads import calm_threads
from manyheads.errors import UserError


@dataclass(frozen=True)
class Predict:
    """Translates each line of a file with a run's model."""

    run: Path = field(metadata={"help": "a run's folder"})
    input: str = field(metadata={"help": "a text file, one sentence a line; - reads what is typed or piped"})
    output: Path | None = field(default=None, metadata={"help": "where the translations go; null: the screen"})
    checkpoint: Literal["best", "last"] = field(default="best", metadata={"help": "which weights"})
    search: Literal["beam", "greedy", "sample"] | None = field(default=None, metadata={"help": "null: as the run did"})
    width: int | None = field(default=None, metadata={"help": "hypotheses of a beam; null: as the run did"})
    batch: int = field(default=64, metadata={"help": "sentences at once"})
    device: Literal["auto", "cpu", "cuda"] = field(default="auto", metadata={"help": "where it computes"})


def main() -> None:
    """The command line: `python scripts/predict.py run=FOLDER input=FILE`."""
    calm_threads()
    sys.exit(guarded(lambda: predict(parse(Predict, sys.argv[1:]))))


def predict(asked: Predict) -> None:
    """Writes one translation per line of the input, in its order; empty lines stay empty."""
    lines = read_lines(asked.input)
    translations = translate(asked, lines)
    if asked.output is None:
        for translation in translations:
            print(translation, flush=True)
        return
    from manyheads import atomic

    atomic.write_text(asked.output, "".join(f"{translation}\n" for translation in translations))


def translate(asked: Predict, lines: list[str]) -> Iterator[str]:
    """Translations of `lines`, in their order, as they come."""
    from manyheads.load import load_run, translator

    if asked.batch < 1:
        raise UserError(f"batch={asked.batch} is no number of sentences: give 1 or more.")
    write = translator(load_run(asked.run, asked.checkpoint, asked.device), asked.search, asked.width)
    for start in range(0, len(lines), asked.batch):
        yield from write(lines[start : start + asked.batch])


def read_lines(name: str) -> list[str]:
    """The lines of a file or of standard input; a UserError says which line is not UTF-8."""
    try:
        content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as problem:
        raise UserError(f"input={name} cannot be read: {problem.strerror}.") from problem
    rows = content.removesuffix(b"\n").split(b"\n") if content else []
    return [_text(name, number, row) for number, row in enumerate(rows, 1)]


def _text(name: str, number: int, row: bytes) -> str:
    try:
        return row.removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError as problem:
        raise UserError(f"{name}, line {number} is not UTF-8; convert the file first.") from problem
