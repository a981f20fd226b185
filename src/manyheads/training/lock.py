"""One process at a time in a run's folder, and one run."""

import fcntl
from pathlib import Path
from typing import IO

from manyheads.errors import UserError


def lock(folder: Path, new: bool) -> IO[str]:
    """Holds the folder for as long as the returned file is open, also across a crash of the machine's making.

    Raises UserError where another process holds it, and where a `new` run would mix with one that is there.
    """
    if new and ((folder / "metrics.json").exists() or (folder / "checkpoints").exists()):
        raise UserError(f"{folder} holds a run already: go on with it by resume={folder}, or name another folder.")
    handle = (folder / ".lock").open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as problem:
        raise UserError(f"The run in {folder} is still going, in another process.") from problem
    return handle
