"""A folder that is there whole or not at all, and in the place of nothing but an earlier export."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from manyheads import atomic
from manyheads.errors import UserError
from manyheads.export.content import CONFIG, readable


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """An empty folder that takes the place of `folder` when the block ends well, and is gone when it does not."""
    refuse_taken(folder)
    folder = folder.absolute()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        atomic.clear(folder.parent)
        partial = atomic.beside(folder)
        partial.mkdir()
    except OSError as problem:
        raise UserError(f"{folder} cannot be written: {problem.strerror}.") from problem
    try:
        yield partial
        _replace(partial, folder)
    except OSError as problem:
        raise UserError(f"{folder} could not be written: {problem.strerror}; what was there is untouched.") from problem
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def refuse_taken(folder: Path) -> None:
    """Raises UserError where something stands there that is no export."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UserError(f"output={folder} is no folder; name another one.")
    if folder.is_dir() and any(folder.iterdir()) and readable(folder / CONFIG) is None:
        raise UserError(f"output={folder} holds something else than an export; name another folder.")


def _replace(partial: Path, folder: Path) -> None:
    if not folder.exists():
        partial.rename(folder)
        return
    old = atomic.beside(folder)
    folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
