"""Files that are there whole or not at all."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

from manyheads.errors import UserError


def write(path: Path, fill: Callable[[Path], None]) -> None:
    """`fill` writes a file beside `path`, which then takes its place in one step; a failure leaves `path` as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The same folder, so that the same disk: only then is the last step one step.
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        fill(partial)
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    except OSError as problem:
        raise _explained(problem, path) from problem
    except RuntimeError as problem:
        # torch's own writer turns a full disk into a RuntimeError without an errno.
        if "PytorchStreamWriter" in str(problem) or "write" in str(problem):
            raise UserError(_full(path)) from problem
        raise
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    write(path, lambda partial: _fill(partial, text))


def _fill(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _explained(problem: OSError, path: Path) -> UserError:
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(_full(path))
    return UserError(f"{path} could not be written: {problem.strerror}.")


def _full(path: Path) -> str:
    return f"{path} could not be written: the disk is full. Make room; what was there before is untouched."
