"""The curves of a run, from the event files that TensorBoard reads."""

from collections.abc import Iterator
from pathlib import Path

Curve = list[tuple[int, float]]
"""(step, value), by step."""


def read(folder: Path, tags: set[str]) -> dict[str, Curve]:
    """The scalars of these tags below `folder`; what cannot be read is left out, with all behind it in its file.

    A step that a resumed run took again counts once, as it was taken last.
    """
    found: dict[str, dict[int, float]] = {}
    for path in sorted(folder.rglob("events.out.tfevents.*"), key=_begun):
        for tag, step, value in _scalars(path, tags):
            found.setdefault(tag, {})[step] = value
    return {tag: sorted(curve.items()) for tag, curve in found.items()}


def _begun(path: Path) -> tuple[str, str]:
    """Event files are named after the second at which they were begun."""
    return path.name, str(path)


def _scalars(path: Path, tags: set[str]) -> Iterator[tuple[str, int, float]]:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.util.tensor_util import make_ndarray

    try:
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.tag in tags:
                    yield value.tag, event.step, float(make_ndarray(value.tensor))
    except Exception:  # a file that was cut off or damaged, in whatever way its reader stumbles over it
        return
