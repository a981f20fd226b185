"""Nothing comes from where nobody may look, the future, padding or other rows; the whole model is asked, by layers."""

from collections.abc import Iterator
from functools import cached_property

from manyheads.model.shapes import EncoderOnly
from manyheads.preflight.findings import Finding, percent
from manyheads.preflight.precision import Precision
from manyheads.preflight.samples import Sample, Samples, Shape, spans
from manyheads.preflight.trace import Trace, first_change, trace

NOW = 2
"""Target words from here on are the future."""


class Subject:
    """A model, a batch, and what the model makes of it: the yardstick of all checks below."""

    def __init__(self, model: Shape) -> None:
        self.model, self.samples = model, Samples(model)
        self.sample = self.samples.batch()

    @cached_property
    def trace(self) -> Trace:
        return trace(self.model, self.sample)

    def change(self, other: Sample, slack: float, first: int | None = None) -> tuple[str, float] | None:
        """The first layer that `other` changes where nothing should, and by how much."""
        return first_change(self.trace, trace(self.model, other), spans(self.model, self.sample, first), slack)

    def alone(self) -> Iterator[tuple[int, Trace, Trace, dict]]:
        """Each row: number, part of the batch, what it gives by itself, and how much of that means something."""
        for b in range(len(self.sample.source)):
            ends = {stack: span[b : b + 1] for stack, span in spans(self.model, self.sample).items()}
            part = {name: out[b : b + 1] for name, out in self.trace.items()}
            yield b, part, trace(self.model, self.sample.row(b)), ends


def future(subject: Subject, precision: Precision) -> Finding:
    """Other words from NOW on change no state before."""
    if isinstance(subject.model, EncoderOnly):
        return Finding("future", True, "the model reads both ways: nothing is the future to it")
    leak = subject.change(subject.samples.from_word(subject.sample, NOW), precision.leak, NOW)
    if leak is None:
        return Finding("future", True, "later words change no earlier state")
    return Finding("future", False, f"{leak[0]} sees the future: later words change its output by {percent(leak[1])}")


def padding(subject: Subject, precision: Precision) -> Finding:
    """Other words behind the ends change no state before them."""
    leak = subject.change(subject.samples.behind_ends(subject.sample), precision.leak)
    if leak is None:
        return Finding("padding", True, "what stands behind the ends of rows changes no state")
    return Finding("padding", False, f"{leak[0]} reads padding, which changes its output by {percent(leak[1])}")


def rows(subject: Subject, precision: Precision) -> Finding:
    """A batch gives what its rows give one by one, without padding."""
    for b, part, alone, ends in subject.alone():
        change = first_change(part, alone, ends, precision.shapes)
        if change is not None:
            name, size = change
            return Finding("rows", False, f"{name} gives row {b} of a batch {percent(size)} other states than alone")
    return Finding("rows", True, "a batch gives what its rows give one by one")
