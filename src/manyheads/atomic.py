"""Files that are there whole or not at all."""

import errno
import glob
import os
import shutil
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from manyheads.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says where there is no room: on the disk, within a quota, within the largest file allowed."""


def write(path: Path, fill: Callable[[Path], None]) -> None:
    """`fill` writes a file beside `path`, which then takes its place in one step; a failure leaves `path` as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = beside(path)
    clear(path.parent, glob.escape(path.name))
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


def beside(path: Path) -> Path:
    """A name under which this process writes what will be `path`: another one each time, for its threads."""
    # The same folder, so that the same disk: only then is the last step one step.
    return path.with_name(f".{path.name}.{socket.gethostname()}.{uuid4().hex[:8]}.{os.getpid()}.partial")


def clear(folder: Path, name: str = "*") -> None:
    """Removes what processes of this machine that are gone left half-written in `folder`; name: a pattern of files."""
    for path in folder.glob(f".{name}.{glob.escape(socket.gethostname())}.*.partial"):
        if _gone(int(path.name.split(".")[-2])):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _gone(process: int) -> bool:
    with suppress(PermissionError):  # somebody else's, and there
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
    return False


def _fill(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _explained(problem: OSError, path: Path) -> UserError:
    if problem.errno in FULL:
        return UserError(_full(path))
    return UserError(f"{path} could not be written: {problem.strerror}.")


def _full(path: Path) -> str:
    return f"{path} could not be written: the disk is full. Make room; what was there before is untouched."
