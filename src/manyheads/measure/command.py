"""`python scripts/benchmark.py NAME KEY=VALUE …`, NAME one of `KINDS`; `--help` tells what each measures."""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from manyheads.config.arguments import guarded, parse
from manyheads.config.names import did_you_mean
from manyheads.config.threads import calm_threads
from manyheads.errors import UserError
from manyheads.measure.attention.asked import Attention
from manyheads.measure.pruned.asked import Pruned, Pruning, numbers
from manyheads.measure.theory.asked import Extrapolation, Formal


@dataclass(frozen=True)
class Pipeline:
    """Training under Lightning, with all callbacks and logs, against a bare loop over the same batches.

    All other arguments are those of train.py (experiment=…, data.path=…, model.dim=…).
    """

    steps: int = field(default=20, metadata={"help": "of each turn"})
    rounds: int = field(default=5, metadata={"help": "turns of both"})
    output: Path | None = field(default=None, metadata={"help": "a JSON file for the figures"})


@dataclass(frozen=True)
class Decoding:
    """How fast a run's model writes: greedily with and without cache, and by its own beam search."""

    run: Path = field(metadata={"help": "a run's folder"})
    sentences: int | None = field(default=None, metadata={"help": "about so many of its first test set; null: all"})
    output: Path | None = field(default=None, metadata={"help": "a JSON file for the figures"})


@dataclass(frozen=True)
class Reading:
    """A training step over one document that is read whole: tokens a second and memory, by attention and length.

    All other arguments are those of train.py (model.layers=…, attention.kv_heads=…).
    """

    attentions: str = field(metadata={"help": "names, with commas"})
    lengths: str = field(default="1024,4096,16384", metadata={"help": "tokens, with commas"})
    rounds: int = field(default=3, metadata={"help": "timed steps of each"})
    output: Path | None = field(default=None, metadata={"help": "a JSON file for the figures, and a PNG beside it"})


@dataclass(frozen=True)
class Compiled:
    """What our Triton kernels become for a Hopper GPU (sm_90a), without one: registers, spills, shared memory."""

    only: str | None = field(default=None, metadata={"help": "words of the kernels' names; null: all, in 20 minutes"})
    output: Path | None = field(default=None, metadata={"help": "a JSON file for the figures"})


@dataclass(frozen=True)
class Estimate:
    """The memory that `estimate=true` predicts against what a training step takes, over many models and attentions.

    All other arguments are those of train.py.
    """

    only: str | None = field(default=None, metadata={"help": "a part of the cases' names; null: all"})
    output: Path | None = field(default=None, metadata={"help": "a JSON file for the figures, and a table beside it"})


@dataclass(frozen=True)
class Pronouns:
    """In which head of a run's model a pronoun looks at what it speaks of; a report in the run's folder."""

    run: Path = field(metadata={"help": "a run's folder"})
    each: int = field(default=200, metadata={"help": "sentences of each kind"})
    seed: int = field(default=0, metadata={"help": "of which sentences are taken"})
    checkpoint: Literal["best", "last"] = field(default="best", metadata={"help": "which weights"})
    device: Literal["auto", "cpu", "cuda"] = field(default="auto", metadata={"help": "where it computes"})
    output: Path | None = field(default=None, metadata={"help": "a further JSON file for the figures"})


@dataclass(frozen=True)
class Maps:
    """How far attention maps are from the weights that `reference` writes down in float64, by attention and mask."""

    attentions: str = field(default="all", metadata={"help": "names, with commas"})
    length: int = field(default=200, metadata={"help": "tokens"})
    head_dim: int = field(default=32, metadata={"help": "numbers of a head"})
    dtype: Literal["float32", "bfloat16"] = field(default="float32", metadata={"help": "of queries and keys"})
    device: Literal["auto", "cpu", "cuda"] = field(default="auto", metadata={"help": "where it computes"})
    output: Path | None = field(default=None, metadata={"help": "a JSON file for the figures, and a table beside it"})


def main() -> None:
    """The command line."""
    calm_threads()
    sys.exit(guarded(lambda: measure(sys.argv[1:])))


def measure(argv: list[str]) -> None:
    """Runs the measurement named first, prints its figures as JSON, and writes them to `output`."""
    name = argv[0] if argv else "--help"
    if name in ("--help", "-h"):
        print(
            f"{__doc__}\n\n"
            + "\n".join(f"  {known:<10} {kind[0].__doc__.splitlines()[0]}" for known, kind in KINDS.items())
        )
        return
    if name not in KINDS:
        raise UserError(f"{name} is no measurement.{did_you_mean(name, KINDS)} There are {', '.join(KINDS)}.")
    arguments, run, hands_on = KINDS[name]
    own = {f.name for f in fields(arguments)}
    overrides = [a for a in argv[1:] if a.partition("=")[0] not in own and hands_on(a)]
    asked = parse(arguments, [a for a in argv[1:] if a not in overrides])
    figures = run(asked, overrides)
    if figures is not None:
        _publish(figures, asked.output, argv)


def _pipeline(asked: Pipeline, overrides: list[str]) -> dict[str, Any]:
    from manyheads.config.check import check
    from manyheads.config.compose import compose
    from manyheads.measure.pipeline import pipeline

    cfg = compose(overrides)
    check(cfg)
    return pipeline(cfg, asked.steps, asked.rounds)


def _decoding(asked: Decoding, overrides: list[str]) -> dict[str, Any]:
    from manyheads.measure.decoding import decoding

    return decoding(asked.run, asked.sentences)


def _attention(asked: Attention, overrides: list[str]) -> None:
    """Writes a folder of its own."""
    from manyheads.measure.attention.bench import bench

    bench(asked, overrides)


def _reading(asked: Reading, overrides: list[str]) -> dict[str, Any]:
    from manyheads.measure.reading import draw, reading

    names, lengths = asked.attentions.split(","), asked.lengths.split(",")
    if not all(length.isdigit() for length in lengths):
        raise UserError(f"lengths={asked.lengths} are no whole numbers with commas between them.")
    found = reading(names, [int(length) for length in lengths], asked.rounds, overrides)
    if asked.output is not None:
        draw(found, asked.output.with_suffix(".png"))
    return found


def _estimate(asked: Estimate, overrides: list[str]) -> dict[str, Any]:
    from manyheads.measure.estimate import estimate

    return estimate(asked.only, overrides)


def _pronouns(asked: Pronouns, overrides: list[str]) -> None:
    """Writes into the run's folder, and to `output`."""
    from manyheads import atomic
    from manyheads.load import load_run
    from manyheads.measure.pronouns.probe import probe
    from manyheads.measure.pronouns.report import publish, words

    if asked.each < 8:
        raise UserError(f"each={asked.each} is too few to choose a head on one half and judge it on the other: set 8.")
    run = load_run(asked.run, asked.checkpoint, asked.device)
    found = {"run": str(asked.run), **probe(run, asked.each, asked.seed)}
    publish(found, asked.run, f"python scripts/benchmark.py pronouns run={asked.run} each={asked.each}")
    print(f"{words(found)}\nThe table of all heads: {asked.run / 'pronouns.md'}")
    if asked.output is not None:
        atomic.write_text(asked.output, json.dumps(found, indent=2) + "\n")


def _maps(asked: Maps, overrides: list[str]) -> dict[str, Any]:
    import torch

    from manyheads.measure.maps import maps

    device = asked.device if asked.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    names = [] if asked.attentions == "all" else asked.attentions.split(",")
    return maps(names, asked.length, asked.head_dim, asked.dtype, device)


def _compiled(asked: Compiled, overrides: list[str]) -> dict[str, Any]:
    from manyheads.measure.compiled import figures

    return figures(asked.only)


def _pruned(asked: Pruned, overrides: list[str]) -> None:
    """Writes into the pruned run's folder, and to `output`."""
    from manyheads import atomic
    from manyheads.measure.pruned.report import publish, report

    lengths = None if asked.lengths is None else numbers("lengths", asked.lengths)
    sizes = (lengths, tuple(numbers("batches", asked.batches)))
    found = report(asked.run, asked.against, asked.rounds, *sizes, asked.seconds, asked.device)
    publish(found, asked.run)
    if asked.output is not None:
        atomic.write_text(asked.output, json.dumps(found, indent=2) + "\n")


def _pruning(asked: Pruning, overrides: list[str]) -> None:
    """Writes a folder of runs, and a table, a figure and the numbers of them."""
    from manyheads.measure.pruned.benchmark import benchmark

    benchmark(asked, overrides)


def _formal(asked: Formal, overrides: list[str]) -> None:
    """Writes a folder of figures, and a table, curves and the numbers of them."""
    from manyheads.measure.theory.formal import formal

    formal(asked, overrides)


def _extrapolation(asked: Extrapolation, overrides: list[str]) -> None:
    """Writes a folder of figures, and a table, curves and the numbers of them."""
    from manyheads.measure.theory.extrapolation import extrapolation

    extrapolation(asked, overrides)


Kind = tuple[type, Callable[[Any, list[str]], dict[str, Any] | None], Callable[[str], bool]]
"""Its arguments, what it does, and which other arguments it hands on as overrides of a config."""

KINDS: dict[str, Kind] = {
    "pipeline": (Pipeline, _pipeline, lambda argument: argument not in ("--help", "-h")),
    "decoding": (Decoding, _decoding, lambda argument: False),
    "reading": (Reading, _reading, lambda argument: argument not in ("--help", "-h")),
    "estimate": (Estimate, _estimate, lambda argument: argument not in ("--help", "-h")),
    "compiled": (Compiled, _compiled, lambda argument: False),
    "pronouns": (Pronouns, _pronouns, lambda argument: False),
    "maps": (Maps, _maps, lambda argument: False),
    "pruned": (Pruned, _pruned, lambda argument: False),
    "pruning": (Pruning, _pruning, lambda argument: argument not in ("--help", "-h")),
    "formal": (Formal, _formal, lambda argument: "." in argument.partition("=")[0] and "=" in argument),
    "extrapolation": (Extrapolation, _extrapolation, lambda argument: "." in argument.partition("=")[0]),
    "attention": (Attention, _attention, lambda argument: "." in argument.partition("=")[0] and "=" in argument),
}


def _publish(figures: dict[str, Any], output: Path | None, argv: list[str]) -> None:
    from manyheads import atomic
    from manyheads.training import record

    content = {"date": time.strftime("%Y-%m-%d"), "arguments": argv, **figures, "environment": record.environment()}
    text = json.dumps(content, indent=2)
    print(text)
    if output is not None:
        atomic.write_text(output, text + "\n")
        if argv[0] == "estimate":
            from manyheads.measure.estimate import markdown

            atomic.write_text(output.with_suffix(".md"), markdown(content))
        if argv[0] == "maps":
            from manyheads.measure.maps import markdown as table

            interpreted = "TRITON_INTERPRET=1 " if os.environ.get("TRITON_INTERPRET") == "1" else ""
            command = f"{interpreted}python scripts/benchmark.py {' '.join(argv)}"
            atomic.write_text(output.with_suffix(".md"), table(content, command))
