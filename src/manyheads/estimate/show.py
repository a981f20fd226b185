"""The estimate as one screen, and as the sentence that refuses a run."""

from rich.console import Console
from rich.table import Table

from manyheads.estimate.batches import extent
from manyheads.estimate.estimate import Estimate
from manyheads.estimate.fit import Fits
from manyheads.training.lines import duration

KINDS = {
    "parameters": "parameters",
    "gradients": "gradients",
    "optimizer": "optimizer state",
    "activations": "activations",
    "attention": "of attention",
    "logits": "logits and loss",
    "batch": "batch",
    "backward": "passing, in the backward",
    "update": "passing, in the update",
}
"""What the ledger tells apart, and how it is called."""


def show(found: Estimate, fit: Fits, attention: str) -> None:
    console = Console()
    console.print(_memory(found, attention))
    console.print(_summary(found, fit))


def refusal(found: Estimate, fit: Fits) -> str:
    """One sentence: what is lacking, and the nearest setting that does."""
    instead = fit.batch or fit.longest
    what = f"set {instead}" if instead else "take a smaller model or a machine with more memory"
    if fit.batch and "batch_tokens" in fit.batch:
        what += " (with trainer.accumulate_grad_batches a step can still have as many tokens)"
    return (
        f"This run would need {size(found.peak)}, and {size(found.available)} are free: {what}, or try it all the same "
        "with force=true."
    )


def size(count: float) -> str:
    return f"{count / 2**30:,.2f} GiB" if count >= 2**30 else f"{count / 2**20:,.1f} MiB"


def _memory(found: Estimate, attention: str) -> Table:
    table = Table(title=f"Memory at the peak of a step · attention: {attention}", title_justify="left")
    for heading in ("", "training", "evaluation"):
        table.add_column(heading, justify="right" if heading else "left")
    sides = (found.training, found.evaluation)
    for kind, name in KINDS.items():
        table.add_row(name, *(size(side.kinds.get(kind, 0)) if side.kinds.get(kind) else "—" for side in sides))
    table.add_section()
    table.add_row("tensors together", *(size(side.tensors) for side in sides))
    if found.averaged:
        table.add_row("averaged weights", *[size(found.averaged)] * 2)
    if found.saved:
        table.add_row("shared out among processes", *[f"−{size(found.saved)}"] * 2)
    table.add_row("the process holds", *(size(side.held + found.averaged - found.saved) for side in sides))
    return table


def _summary(found: Estimate, fit: Fits) -> Table:
    rows, length = extent(found.batch)
    machine, run = found.machine, found.run_seconds
    table = Table(show_header=False)
    lines = {
        "largest batch of the data": f"{rows} rows, the longest of {length}; {found.batch.tokens:,} tokens",
        f"free on {found.device.type}, for each of {found.processes} processes": size(found.available),
        "a step": f"{found.step_seconds * 1e3:,.1f} ms, {found.training.work.flops / 1e9:,.2f} GFLOP",
        "the run": f"{duration(run)}, {found.steps:,} steps" if run is not None else "until trainer.max_time",
        "measured just now": f"{machine.flops / 1e9:,.0f} GFLOP/s, {machine.moved / 1e9:,.1f} GB/s, "
        f"{machine.call * 1e6:.1f} µs a call",
        "largest batch of such rows that fits": fit.batch or "—",
        "longest row that fits alone": fit.longest or "—",
        "fits": "no" if found.lacks else "yes",
    }
    for line in lines.items():
        table.add_row(*line)
    return table
