"""Runs of several processes: who belongs to them, and what is left of them."""

import os
import subprocess
import sys
import time
from pathlib import Path

import command
import torch

TWO = ("trainer.devices=2", "preflight=false", "test=false", "callbacks.last.every=3", "logger=csv")


class Started:
    """A command in a session of its own, so that all its processes can be found, and told as by a terminal."""

    def __init__(self, *overrides: str, folder: Path) -> None:
        self.folder, self._said = folder, folder.with_suffix(".said")
        arguments = [*command.TINY, *overrides, f"hydra.run.dir={folder}"]
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, str(command.REPOSITORY / "train.py"), *arguments],
                cwd=folder.parent,
                env=command.environment(),
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self._said.read_text(encoding="utf-8")

    def ranks(self) -> list[int]:
        """Processes by rank: those that were forked, or the first one and those that it started."""
        forked = [pid for pid in self.alive() if pid != self.process.pid and b"train.py" in _line(pid)]
        started = [pid for pid in forked if f"LOCAL_RANK={1}".encode() in _environment(pid)]
        return [self.process.pid, *started] if started else sorted(forked)

    def alive(self) -> list[int]:
        """All processes of the session that have not ended."""
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, _, _, session = path.read_text().rpartition(")")[2].split()[:4]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(session) == self.process.pid and state != "Z":
                found.append(int(path.parent.name))
        return sorted(found)

    def reach(self, step: int, seconds: float = 120) -> None:
        """Waits until last.ckpt has come to the step."""
        until = time.monotonic() + seconds
        while reached(self.folder) < step:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < until, self.said
            time.sleep(0.01)

    def end(self, seconds: float) -> int:
        """The exit code; nothing may be left of it after so many seconds."""
        until = time.monotonic() + seconds
        try:
            code = self.process.wait(seconds)
            while self.alive():
                assert time.monotonic() < until, f"{self.alive()} are left behind: {self.said}"
                time.sleep(0.05)
            return code
        finally:
            for pid in self.alive():
                os.kill(pid, 9)


def reached(folder: Path) -> int:
    try:
        return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    except (FileNotFoundError, RuntimeError, EOFError):
        return -1


def _line(pid: int) -> bytes:
    return _read(pid, "cmdline")


def _environment(pid: int) -> bytes:
    return _read(pid, "environ")


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
