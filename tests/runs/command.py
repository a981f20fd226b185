"""Whole commands, as a user types them, with a model and a corpus that take seconds."""

import contextlib
import io
import json
import os
import runpy
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from manyheads.sweep.job import DISTRIBUTED

REPOSITORY = Path(__file__).resolve().parents[2]

TINY = (
    "data.pairs=500",
    "data.vocabulary=400",
    "data.batch_tokens=1500",
    "model.dim=16",
    "model.heads=2",
    "model.hidden=16",
    "model.encoder_layers=1",
    "model.decoder_layers=1",
    "task.translated=8",
    "task.search.width=2",
    "trainer=cpu",
    "trainer.limit_test_batches=2",
)


def environment(**changes: str) -> dict[str, str]:
    """One thread, which is fastest for so little, and nothing of a run around this test or in its process before it."""
    gone = ("MANYHEADS", "HYDRA", *DISTRIBUTED)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(gone)}
    return {**kept, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", **changes}


def started(script: str, *arguments: str, cwd: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(REPOSITORY / script), *arguments],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@dataclass(frozen=True)
class Done:
    """How a command ended and what it said."""

    returncode: int
    stdout: str
    stderr: str


def run(script: str, *arguments: str, cwd: Path, stdin: str = "") -> Done:
    """The command in this process, which saves the seconds that importing torch takes."""
    out, err = io.StringIO(), io.StringIO()
    typed = io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8")
    argv = [str(REPOSITORY / script), *arguments]
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", argv),
        mock.patch.object(sys, "stdin", typed),
    ):
        code = _exit_code(argv[0])
    return Done(code, out.getvalue(), err.getvalue())


def _exit_code(script: str) -> int:
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as stop:
        return stop.code or 0
    return 0


def train(*overrides: str, folder: Path) -> Done:
    """train.py with the tiny settings, in a run folder of that name."""
    return run("train.py", *TINY, *overrides, f"hydra.run.dir={folder}", cwd=folder.parent)


def metrics(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text())


def refused(done: Done) -> str:
    """The sentence of a command that was refused: exit code 1, one sentence, no traceback."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stderr.startswith("error: "), done.stderr
    return done.stderr
