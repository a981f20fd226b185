"""What a sweep writes about itself, so that the same command, and no other, goes on with it."""

import fcntl
import json
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from manyheads import atomic
from manyheads.config.sweeps import BOOK, deciding, key_of, read
from manyheads.errors import UserError


def refuse_another(folder: Path, overrides: Iterable[str]) -> None:
    """Raises UserError where the folder holds the sweep of another command, or something that is no sweep."""
    if (folder / "metrics.json").exists():
        raise UserError(f"{folder} holds a single run: give the sweep a folder of its own by hydra.sweep.dir=...")
    if not (folder / BOOK).exists():
        return
    before = read(folder)
    if deciding(before) != deciding(overrides):
        raise UserError(
            f"{folder} holds the sweep of another command ({' '.join(before)}): go on with that one by "
            f"resume={folder}, or name another folder by hydra.sweep.dir=..."
        )


def write(folder: Path, overrides: Iterable[str]) -> None:
    """Notes the command, at the first start alone."""
    if not (folder / BOOK).exists():
        kept = [o for o in overrides if key_of(o) not in ("hydra.mode", "hydra.sweep.dir")]
        text = json.dumps({"overrides": kept}, indent=2, ensure_ascii=False)  # which is yaml, too
        atomic.write_text(folder / BOOK, text + "\n")


def lock(folder: Path) -> IO[str]:
    """Holds the sweep for as long as the returned file is open. Raises UserError where another process holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = (folder / ".lock").open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as problem:
        raise UserError(f"The sweep in {folder} is still going, in another process.") from problem
    return handle
