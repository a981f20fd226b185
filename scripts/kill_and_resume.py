"""python scripts/kill_and_resume.py folder=FOLDER … : kills a run at random moments; --help lists the arguments."""

import importlib
import json
import logging
import mmap
import os
import random
import runpy
import signal
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manyheads.config.arguments import guarded, parse
from manyheads.config.threads import calm_threads
from manyheads.errors import UserError

TRAIN = Path(__file__).resolve().parents[1] / "train.py"

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
    "callbacks.last.every=3",
    # So strict that ordinary steps are left out: what it remembers must come through every kill, too.
    "callbacks.guard.on_fault=skip",
    "callbacks.guard.spike=1.01",
    "callbacks.guard.window=5",
    "callbacks.guard.patience=1000",
)

PHASES = ("start-up", "training", "validation", "end")
WRITING = "writing a checkpoint"
KINDS = {"training": 60, WRITING: 20, "validation": 10, "start-up": 10}
"""Of 100 kills during the training. Most fall at any moment of a step; the others look for what is rarely met."""

ENDS = 0.08
"""Share of the kills that come after the training: while weights are chosen, tested and written down."""


@dataclass(frozen=True)
class Kills:
    """Trains a tiny model twice: undisturbed, and killed at random moments and resumed after each.

    Both must come to the same weights to the bit, the same optimizer and the same scores, with nothing left behind.
    Each life is a fork of this process, which has imported what train.py imports, and runs train.py from its first
    line.
    """

    folder: Path = field(metadata={"help": "a new folder for both runs"})
    kills: int = field(default=100, metadata={"help": "by SIGKILL"})
    terms: int = field(default=0, metadata={"help": "further ones by SIGTERM"})
    epochs: int = field(default=20, metadata={"help": "of 31 steps"})
    seed: int = field(default=1, metadata={"help": "of the moments"})
    processes: bool = field(default=False, metadata={"help": "true: a whole new python each time; 5 seconds more each"})


@dataclass(frozen=True)
class Moment:
    """kind: where to strike; step: not before this optimizer step; delay: seconds after both are met."""

    kind: str
    step: int
    delay: float
    number: int


def main() -> int:
    calm_threads()
    return guarded(lambda: _run(parse(Kills, sys.argv[1:])))


def _run(asked: Kills) -> None:
    if asked.folder.exists():
        raise UserError(f"{asked.folder} is there already: name a new folder.")
    asked.folder.mkdir(parents=True)
    overrides = (*TINY, f"trainer.max_epochs={asked.epochs}", f"paths.outputs={asked.folder / 'outputs'}")
    whole, killed = asked.folder / "undisturbed", asked.folder / "killed"
    begin = Fork if not asked.processes else Whole
    _imported()
    life = begin([*overrides, f"hydra.run.dir={whole}"], asked.folder / "undisturbed.log")
    if (code := life.end()) != 0:
        raise UserError(f"The undisturbed run failed with exit code {code}: see {life.log}.")
    counts = _kill(asked, begin, overrides, killed, _steps(whole))
    problems = [*differences(whole, killed), *leftovers(asked.folder)]
    print(json.dumps({"kills": sum(counts.values()), **counts, "problems": problems}, indent=2))
    if problems:
        raise UserError(f"The killed run is not the undisturbed one: {'; '.join(problems)}.")


def _imported() -> None:
    """What train.py imports on its way; nothing is computed here, so that no thread is there that a fork would lose."""
    for name in ("manyheads.run", "manyheads.data.translation", "manyheads.task.translation", "torch._dynamo"):
        importlib.import_module(name)


def _kill(asked: Kills, begin: type, overrides: tuple[str, ...], folder: Path, steps: int) -> Counter:
    counts: Counter = Counter()
    for number, moment in enumerate(moments(asked, steps), 1):
        arguments = (
            [f"resume={folder}"] if (folder / "config.yaml").exists() else [*overrides, f"hydra.run.dir={folder}"]
        )
        life = begin(arguments, folder.with_suffix(".log"))
        where = life.strike(moment, folder)
        if where is None:
            raise UserError(f"Life {number} ended by itself with exit code {life.end()}: see {life.log}.")
        counts[f"{signal.Signals(moment.number).name} in {where}"] += 1
        problem = unsound(folder)
        print(f"{number}: {signal.Signals(moment.number).name} in {where}, saved at step {saved(folder)}", flush=True)
        if problem:
            raise UserError(f"After kill {number}, in {where}: {problem}.")
    life = begin([f"resume={folder}"], folder.with_suffix(".log"))
    if (code := life.end()) != 0:
        raise UserError(f"The last life failed with exit code {code}: see {life.log}.")
    return counts


def moments(asked: Kills, steps: int) -> Iterator[Moment]:
    """Spread evenly at random over the training, and then over what comes after it."""
    dice = random.Random(asked.seed)
    numbers = [signal.SIGKILL] * asked.kills + [signal.SIGTERM] * asked.terms
    dice.shuffle(numbers)
    ends = max(1, round(ENDS * len(numbers)))
    places = sorted(dice.randrange(1, steps) for _ in numbers[ends:])
    spans = {"start-up": 1.5, WRITING: 0.002, "validation": 0.2, "training": 0.05}
    for place, number in zip(places, numbers, strict=False):
        kind = dice.choices(list(KINDS), list(KINDS.values()))[0]
        yield Moment(kind, 0 if kind == "start-up" else place, dice.uniform(0, spans[kind]), number)
    for number in numbers[-ends:]:
        yield Moment("end", steps, dice.uniform(0, 1.5), number)


class Fork:
    """A life: a fork of this process that runs train.py; where it is stands in memory that both share."""

    pause = 0.0005  # seconds between two looks: a checkpoint is written within a few milliseconds

    def __init__(self, arguments: list[str], log: Path) -> None:
        self.log, self._begun, self._seen = log, time.time(), mmap.mmap(-1, 16)
        self._note(0, 0)
        self.pid = os.fork()
        if self.pid == 0:
            os._exit(self._live(arguments))

    def end(self) -> int:
        """Waits for it; its exit code."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def strike(self, moment: Moment, folder: Path) -> str | None:
        """Waits for the moment and sends the signal; where it hit, or None if the life was over before."""
        if not self._wait(lambda: self._met(moment, folder)):
            return None
        until = time.monotonic() + moment.delay
        if not self._wait(lambda: time.monotonic() >= until):
            return None
        os.kill(self.pid, signal.SIGSTOP)
        where = WRITING if self._writes(folder) else PHASES[self._where()[0]]
        os.kill(self.pid, moment.number)
        os.kill(self.pid, signal.SIGCONT)
        code = self.end()
        # SIGTERM ends a process in its first milliseconds by itself, later by way of what it still has to save.
        if code not in (-moment.number, 128 + moment.number):
            raise UserError(f"{signal.Signals(moment.number).name} in {where} led to exit code {code}: see {self.log}.")
        return where

    def _met(self, moment: Moment, folder: Path) -> bool:
        phase, step = self._where()
        if moment.kind == "end":
            return PHASES[phase] == "end"
        if step < moment.step:
            return False
        if moment.kind == WRITING:
            return self._writes(folder)
        return moment.kind != "validation" or PHASES[phase] in ("validation", "end")

    def _writes(self, folder: Path) -> bool:
        """Whether a checkpoint is there in part, under another name or on its way to its own: of this life."""
        newest = folder / "checkpoints" / "newest.ckpt"
        found = (folder / "checkpoints").glob(f"**/.*.{self.pid}.partial")
        return any(found) or (newest.exists() and newest.stat().st_mtime > self._begun)

    def _wait(self, met: Callable[[], bool]) -> bool:
        """Whether it is met while the process lives."""
        while not met():
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return False
            time.sleep(self.pause)
        return True

    def _where(self) -> tuple[int, int]:
        return struct.unpack("qq", self._seen[:])

    def _note(self, phase: int, step: int) -> None:
        self._seen[:] = struct.pack("qq", phase, step)

    def _live(self, arguments: list[str]) -> int:
        output = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        self._observe()
        sys.argv = [str(TRAIN), *arguments]
        try:
            runpy.run_path(str(TRAIN), run_name="__main__")
        except SystemExit as stop:
            return int(stop.code or 0)
        finally:
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
        return 0

    def _observe(self) -> None:
        """Notes which of Lightning's hooks were called: nothing else of the run knows of it."""
        from lightning.pytorch.trainer import call

        phases = {"on_train_start": 1, "on_validation_start": 2, "on_validation_end": 1, "on_fit_end": 3}
        hooks = call._call_callback_hooks

        def observed(trainer: Any, name: str, *args: Any, **kwargs: Any) -> None:
            phase = self._where()[0]
            self._note(phase if phase == 3 else phases.get(name, phase), trainer.global_step)
            hooks(trainer, name, *args, **kwargs)

        call._call_callback_hooks = observed


class Whole(Fork):
    """A life that starts from nothing, as a user's does; only its files tell where it is."""

    pause = 0.02

    def __init__(self, arguments: list[str], log: Path) -> None:
        self.log, self._begun = log, time.time()
        with log.open("ab") as output:
            self._process = subprocess.Popen([sys.executable, str(TRAIN), *arguments], stdout=output, stderr=output)
        self.pid = self._process.pid

    def _met(self, moment: Moment, folder: Path) -> bool:
        if moment.step and (saved(folder) or 0) < moment.step:
            return False
        return moment.kind != WRITING or self._writes(folder)

    def _where(self) -> tuple[int, int]:
        return 1, 0


def saved(folder: Path) -> int | None:
    """The step that a resumed run goes on from."""
    from manyheads.training import checkpoints

    path = checkpoints.newest(folder / "checkpoints")
    return None if path is None else checkpoints.load(path)["global_step"]


def unsound(folder: Path) -> str | None:
    """What is broken in a run's folder after a kill, if anything is: nothing may be half there."""
    from manyheads.training import checkpoints

    for path in (folder / "checkpoints").glob("*.ckpt"):
        checkpoints.load(path)
    for path in folder.glob("*.json"):
        try:
            content = json.loads(path.read_text("utf-8"))
        except ValueError as problem:
            return f"{path} is no whole JSON: {problem}"
        if path.name == "metrics.json" and content["status"] not in ("running", "interrupted"):
            return f"{path} says {content['status']}"
    return None


def differences(one: Path, other: Path) -> list[str]:
    """What is not the same at the end of two runs: weights, optimizer, random generators, place in the data, scores."""
    found = []
    for name in ("best", "last"):
        a, b = (_content(folder / "checkpoints" / f"{name}.ckpt") for folder in (one, other))
        for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
            found += [] if _same(a.get(part), b.get(part)) else [f"{name}.ckpt differs in {part}"]
        found += [] if _same(_loops(a), _loops(b)) else [f"{name}.ckpt differs in loops"]
        for part in ("Dice", "Guard"):
            same = _same(a["callbacks"].get(part), b["callbacks"].get(part))
            found += [] if same else [f"{name}.ckpt differs in {part}"]
    a, b = (json.loads((folder / "metrics.json").read_text("utf-8")) for folder in (one, other))
    for part in ("status", "reason", "train", "val", "test", "baseline", "weights"):
        found += [] if a[part] == b[part] else [f"metrics.json differs in {part}: {a[part]} and {b[part]}"]
    if (one / "predictions.jsonl").read_bytes() != (other / "predictions.jsonl").read_bytes():
        found.append("predictions.jsonl differs")
    return found


def leftovers(folder: Path) -> list[str]:
    """Files that were meant to be there for a moment."""
    found = [*folder.rglob("*.partial"), *folder.rglob("newest.ckpt"), *folder.rglob(".rank_*")]
    return [f"{path} is left over" for path in found]


def _content(path: Path) -> dict[str, Any]:
    import torch

    return torch.load(path, map_location="cpu", weights_only=True)


def _loops(content: dict[str, Any]) -> dict[str, Any]:
    """Place in the data, but not how many epochs are completed: of a run that was stopped after its last one, Lightning
    counts that one when it trains on, and not where nothing is left to train.
    """
    loops = content["loops"]
    progress = loops["fit_loop"]["epoch_progress"]
    done = {kind: {**counts, "completed": None} for kind, counts in progress.items()}
    return {**loops, "fit_loop": {**loops["fit_loop"], "epoch_progress": done}}


def _steps(folder: Path) -> int:
    return _content(folder / "checkpoints" / "last.ckpt")["global_step"]


def _same(a: Any, b: Any) -> bool:
    import torch

    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


if __name__ == "__main__":
    sys.exit(main())
