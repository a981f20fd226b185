"""Nothing comes from where nobody may look, the future, padding or other rows; the whole model is asked, by layers."""

from manyheads.preflight.findings import Finding, percent
from manyheads.preflight.precision import Precision
from manyheads.preflight.subjects.base import Change, Subject
from manyheads.preflight.trace import first_change


def future(subject: Subject, precision: Precision) -> Finding:
    """Another future changes nothing before it."""
    change = subject.future()
    if change is None:
        return Finding("future", True, "the model reads both ways: nothing is the future to it")
    leak = _seen(subject, change, precision)
    if leak is None:
        return Finding("future", True, f"{change.what} change nothing before them")
    return Finding("future", False, f"{leak[0]} sees the future: {change.what} change its output by {percent(leak[1])}")


def padding(subject: Subject, precision: Precision) -> Finding:
    """What stands where nothing is changes nothing."""
    change = subject.unseen()
    leak = _seen(subject, change, precision)
    if leak is None:
        return Finding("padding", True, f"{change.what} changes nothing")
    return Finding("padding", False, f"{leak[0]} reads {change.what}, which changes its output by {percent(leak[1])}")


def rows(subject: Subject, precision: Precision) -> Finding:
    """A batch gives what its rows give one by one, without padding."""
    for row, (own, alone) in enumerate(subject.alone()):
        by_itself = subject.traced(alone), subject.held(alone)
        change = first_change((subject.trace, own), by_itself, precision.shapes)
        if change is not None:
            name, size = change
            return Finding("rows", False, f"{name} gives row {row} of a batch {percent(size)} other states than alone")
    return Finding("rows", True, "a batch gives what its rows give one by one")


def _seen(subject: Subject, change: Change, precision: Precision) -> tuple[str, float] | None:
    """The first layer that the change reaches where nothing should, and by how much."""
    after = subject.traced(change.sample)
    return first_change((subject.trace, change.held), (after, change.held), precision.leak)
