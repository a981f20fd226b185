"""The steps of one run, in the order in which `train` calls them, and the record of how it ended."""

import logging
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import torch
from hydra.core.hydra_config import HydraConfig
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import Callback, LightningModule, seed_everything
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf

from manyheads import atomic, build, preflight
from manyheads.attention.used import used
from manyheads.config import paths, refusals
from manyheads.config.layers import name_layers, title
from manyheads.config.objective import objective
from manyheads.config.ranks import started
from manyheads.data.base import save_spec
from manyheads.data.contents import contents
from manyheads.errors import UserError
from manyheads.estimate.estimate import device_of
from manyheads.estimate.foresee import foresee
from manyheads.estimate.instead import roomier
from manyheads.meeting import one_before_others
from manyheads.model.stack import blocks
from manyheads.pruning import architecture
from manyheads.pruning.architecture import narrow
from manyheads.pruning.finish import compact_files, settled_gates
from manyheads.pruning.gates import put
from manyheads.pruning.saved import SaysArchitecture, gated, narrow_as, refuse_gated
from manyheads.sweep.trial import Pruned, reporting
from manyheads.training import average, checkpoints, faults, interrupts, ranks, record
from manyheads.training.checkpoints import AtomicIO
from manyheads.training.compile import compile_blocks
from manyheads.training.cost import Cost
from manyheads.training.exact import Dice
from manyheads.training.guard import Guard
from manyheads.training.hyperparameters import log_hyperparameters
from manyheads.training.interrupts import Interrupted
from manyheads.training.lock import lock
from manyheads.training.memory import Growth
from manyheads.training.one_config import OneConfig
from manyheads.training.quiet import quiet_lightning
from manyheads.training.ranks import Ranks
from manyheads.training.table import show_end

log = logging.getLogger(__name__)

C = TypeVar("C", bound=Callback)


class Run:
    """A context: whatever ends the run, its folder says so, and the user reads how to go on."""

    def __init__(self, cfg: DictConfig) -> None:
        quiet_lightning()
        hydra = HydraConfig.get()
        self.cfg, self.folder = cfg, Path(hydra.runtime.output_dir)
        self.overrides = list(hydra.overrides.task)
        self.writes = rank_zero_only.rank == 0
        paths.make_absolute(cfg)
        name_layers(cfg, str(hydra.runtime.choices.get("attention")), self.overrides)
        refusals.refuse(cfg, self.overrides)
        build.refuse_absent(cfg)
        if self.writes:
            self.lock = lock(self.folder, new=cfg.resume is None)
            for part in (self.folder, self.best.parent, average.kept_in(self.best.parent)):
                atomic.clear(part)
        choices = self._choices(hydra)
        self.choices = {group: str(choices.get(group)) for group in GROUPS}
        self.choices["attention"] = title(cfg, self.choices["attention"])
        self.record = record.Record(self.folder, cfg, self.choices)
        self.cost, self.begun, self._used = Cost(), False, ""
        self.trial = reporting(refusals.objectives(cfg))

    def _choices(self, hydra: Any) -> Mapping[str, str]:
        """Which yaml each group is from: what was composed earlier has the names of then."""
        if self.cfg.resume is None and self.cfg.prunes is None:
            return hydra.runtime.choices
        try:
            return record.read_choices(self.folder if self.cfg.prunes is None else Path(self.cfg.prunes))
        except UserError:
            if self.cfg.resume is None or self.cfg.prunes is None:
                raise
            return {}  # what was pruned has been moved, and metrics.json knows the names

    def __enter__(self) -> "Run":
        with ExitStack() as signals:
            signals.enter_context(interrupts.raising())
            if self.writes and self.cfg.resume is None:
                record.write_overrides(self.folder, self.overrides)
                self._begin()
            self._signals = signals.pop_all()
        return self

    def build(self) -> None:
        """Data first: it decides sizes that the model needs."""
        seed_everything(self.cfg.seed, workers=True, verbose=False)
        self.data = build.data(self.cfg)
        self._take_what_it_read()
        one_before_others(self.data.prepare_data)
        self.data.setup("fit")
        self._note_contents()
        self.start = self._start()
        if self.cfg.train and self.writes:
            self.cost.predicted = foresee(self.cfg, self.data)
        self.cost.growth = Growth(device_of(self.cfg))
        self._make_task()
        self.pruner = build.pruner(self.cfg) if self.cfg.train else None
        watching = [Dice(), *([self.pruner] if self.pruner else []), self.cost, OneConfig(), SaysArchitecture()]
        self.trainer = build.trainer(self.cfg, self.folder, [*watching, *self.trial])
        for watching in self._callbacks(Ranks):
            watching.prepare(self.trainer, self._die)
        log.info("%s", self._summary())
        self._finish_compacting()
        if self.start is not None:
            self._load(self.start)
        if self.writes:
            save_spec(self.data.spec, self.folder)
            self.data.save(self.folder)
            if self.cfg.resume is not None:
                self._begin()

    def _note_contents(self) -> None:
        """What is read, so that nobody compares it with what somebody put into the same file later."""
        if not self.writes:
            return
        known = [one for one in (self.record.content["data_contents"] or "").split("+") if one]
        now = contents(self.cfg.data.path)
        if now is None or now in known:
            return
        if known:
            log.warning("data.path=%s has not the contents that it had when the run began.", self.cfg.data.path)
        self.record.update(data_contents="+".join([*known, now]))

    def check(self) -> None:
        """Refuses a model that cannot be right, before it trains."""
        if self.cfg.preflight:
            preflight.check(self.model, self.cfg.trainer.precision, self._device)

    def fit(self) -> None:
        self._ask_the_search()
        if self.cfg.compile:
            compile_blocks(blocks(self.model))
        try:
            with interrupts.forwarding() if self._forks else nullcontext():
                self.trainer.fit(self.task, datamodule=self.data, ckpt_path=self._state_to_go_on_from())
        except MisconfigurationException as problem:
            raise UserError(str(problem).strip().replace("\n", " ")) from problem
        except ValueError as problem:
            # Lightning's own check, which it makes once it knows how many batches there are.
            if not str(problem).lstrip().startswith("`val_check_interval`"):
                raise
            raise UserError(
                f"trainer.val_check_interval={self.cfg.trainer.val_check_interval} is more than an epoch has batches: "
                "lower it, or set trainer.check_val_every_n_epoch=null to count across epochs."
            ) from problem
        self._note_training()
        self._ask_the_search()
        if build.shares(self.cfg):
            self._make_task()  # whole again: what follows takes its weights from files
        if self.pruner is not None:
            self._take_gates()

    def choose_weights(self) -> None:
        """best.ckpt holds what the run stands by: the best weights that training came through, or a better rival."""
        self.evaluator = build.evaluator(self.cfg, self.folder)
        validated = self.best.exists()
        self.evaluator.strategy.barrier()  # all have looked before one writes
        if not validated:
            # No validation came; Last always saves when a training ends.
            self._write_best(checkpoints.load(checkpoints.newest(self.best.parent)))
        chosen, kept = checkpoints.load(self.best), average.recent(self.best.parent)
        val, name = self._validate(chosen["state_dict"]), f"step {chosen['global_step']}"
        if not math.isfinite(val[self.task.monitor]):
            raise UserError(
                f"The training diverged: {self.task.monitor} is no number. Lower optimizer.lr or clip more."
            )
        for other, weights in self._rivals(kept):
            scores = self._validate(weights)
            if self._better(scores, val):
                val, name = scores, other
                # With the buffers that this validation has set, such as a threshold.
                self._write_best({**chosen, "state_dict": self.task.state_dict()})
        self.record.update(val=_short(val, "val"), weights=name)

    def compact(self) -> None:
        """What pruning has closed goes: from here on the model is the smaller one, here and in its files."""
        if not self._gated:
            return
        # Behind the files, nobody knows the gates any more.
        self.record.update(pruning=self.pruner.summary())
        self._used = used(self.model)
        if self.writes:
            self.record.close("running")
            checkpoints.settled_last(self.best.parent)
        self._compact_files(self.task)
        self.evaluator.strategy.barrier()  # all wait for the files
        self._make_task(self.best)
        self._load(self.best)

    def test(self) -> None:
        self.evaluator = build.evaluator(self.cfg, self.folder)
        if not self.best.exists():
            self._write_best(checkpoints.load(self.start))
        self._load(self.best)
        self.evaluator.test(self.task, datamodule=self.data, verbose=False)
        found = {name: float(value) for name, value in self.evaluator.callback_metrics.items()}
        for logger in self.trainer.loggers:
            logger.log_metrics(found, self.trainer.global_step)
        self.record.update(test=_short(found, "test"), baseline=self.task.baseline, signatures=self.task.signatures)

    def finish(self) -> float | list[float] | None:
        """Writes the record; returns what a sweep optimises: `objective` there, too."""
        if self.cfg.train or not self.record.content["cost"]:
            cost = self.cost.summary(self.model)
            self.record.update(cost={**cost, "parameters_before_pruning": self._parameters})
        if self.pruner is not None and not self.record.content.get("pruning"):
            self.record.update(pruning=self.pruner.summary())
        # A model that has just been made smaller has not computed where nothing is tested.
        self.record.update(attention_used=used(self.model) if self.cfg.test or not self._used else self._used)
        found = objective(self.cfg, self.record.content)
        self.record.update(objective=found)
        if self.writes:
            self.record.close("finished")
            self._log_hyperparameters()
            show_end(self.record.content, self.folder)
        return found

    @property
    def _forks(self) -> bool:
        return any(word in str(self.cfg.trainer.strategy) for word in ("fork", "spawn"))

    @property
    def _device(self) -> torch.device:
        """Where this process computes: a GPU that it has touched is lost to those that it forks."""
        return torch.device("cpu") if self._forks else self.trainer.strategy.root_device

    @property
    def _gated(self) -> bool:
        """Whether the model is right only with the gates of a pruning."""
        return self.pruner is not None and not self.pruner.compacted

    def _take_gates(self) -> None:
        """From the file: forked processes take what they know with them."""
        kept = self.best.with_name("last.ckpt")
        ended = checkpoints.load(checkpoints.newest(kept.parent) or kept)
        self.pruner.load_state_dict(ended["callbacks"]["Pruner"])
        if self._gated:
            put(self.model, settled_gates(ended))

    def _compact_files(self, whole: LightningModule) -> None:
        if self.writes:
            batch = move_data_to_device(next(iter(_first(self.data.val_dataloader()))), self._device)
            whole = self.trainer.precision_plugin.convert_module(whole).to(self._device)
            compact_files(self.best.parent, whole, batch, AtomicIO().save_checkpoint)

    def _finish_compacting(self) -> None:
        """A run that was killed between its files has a gated one left."""
        if self.cfg.resume is None or self.start is None or not self.best.exists():
            return
        best = checkpoints.load(self.best)
        if gated(best) and not gated(checkpoints.load(self.start)):
            whole = build.model(self.cfg, self.data.spec)
            narrow_as(whole, best, self.best)
            self._compact_files(build.task(self.cfg, whole, self.data.spec))

    def _state_to_go_on_from(self) -> Path | None:
        """A pruning of finished weights takes those alone: an optimizer and a schedule of its own begin."""
        return None if self.pruner is not None and self.start == self._given() else self.start

    @property
    def best(self) -> Path:
        return self.folder / "checkpoints" / "best.ckpt"

    def _ask_the_search(self) -> None:
        for trial in self.trial:
            trial.verify()

    def __exit__(self, kind: type | None, problem: BaseException | None, trace: TracebackType | None) -> bool:
        try:
            return self._end(problem)
        finally:
            if self.writes:
                self.lock.close()

    def _end(self, problem: BaseException | None) -> bool:
        """Writes down how the run ended; True where that is no fault."""
        self._signals.close()
        for watching in self._callbacks(Ranks):
            watching.stop()
        if problem is None:
            return False
        if isinstance(problem, Pruned):  # on all ranks, which count together
            self.record.update(cost=self.cost.summary(self.model))
            self._close("pruned", str(problem))
            return True
        found = faults.ending(problem, self.folder, getattr(self, "trainer", None), self._roomier)
        self._close(found.status, found.reason)
        self._tell(found, problem)
        return False

    def _make_task(self, like: Path | None = None) -> None:
        """like: the checkpoint whose architecture the model has; else that of the start, if there is one."""
        self.model = build.model(self.cfg, self.data.spec)
        self._parameters = sum(p.numel() for p in self.model.parameters())
        like = like or self.start
        if like is not None:
            narrow_as(self.model, checkpoints.load(like), like)
        elif self.cfg.arch is not None:
            narrow(self.model, architecture.read(Path(self.cfg.arch)), self.cfg.arch)
            self.model.start()
        self.task = build.task(self.cfg, self.model, self.data.spec)
        self.task.config = OmegaConf.to_container(self.cfg, resolve=True)

    def _tell(self, found: faults.Ending, problem: BaseException) -> None:
        """Raises what the user is to read; nothing where the problem says it by itself."""
        if found.number is not None and self.writes:
            print(f"Interrupted. Go on with: python train.py resume={self.folder}", file=sys.stderr)
            raise SystemExit(128 + found.number) from None
        if isinstance(problem, Interrupted) and problem.step is not None:
            # All ranks left together: to the process that started this one, that is no failure of its own.
            raise SystemExit(0) from None
        if not self.writes and found.sentence is None and isinstance(problem, UserError) and started() is None:
            # Rank 0 says it: as its own mistake too, or as the word that was left for it.
            raise SystemExit(1) from None
        if found.sentence is not None:
            raise UserError(found.sentence) from problem

    def _close(self, status: str, reason: str) -> None:
        if not self.writes and status == "failed":
            ranks.leave_word(self.folder, rank_zero_only.rank, reason)
        if self.writes and self.begun:
            self._note_training()
            try:
                self.record.close(status, reason)
                self._log_hyperparameters()
            except (UserError, OSError) as problem:  # the same disk may have ended the run: what it says comes first
                log.warning("%s", problem)

    def _log_hyperparameters(self) -> None:
        """Also of a run that failed, where it came so far that there is a log."""
        if hasattr(self, "trainer"):
            length, loggers = self.data.spec.longest, self.trainer.loggers
            log_hyperparameters(loggers, self.cfg, self.choices, self.record.content, length)

    def _callbacks(self, kind: type[C]) -> list[C]:
        """Those of a kind, where the run came so far and has any."""
        known = self.trainer.callbacks if hasattr(self, "trainer") else []
        return [callback for callback in known if isinstance(callback, kind)]

    def _die(self, reason: str) -> None:
        """Ends this process at once: called where its main thread waits in vain."""
        with suppress(UserError):  # of a full disk
            self.record.close("failed", reason)
        ranks.end_now(f"{reason}. Go on with: python train.py resume={self.folder}")

    def _roomier(self) -> str:
        return roomier(self.cfg, self.data, None if self._forks else self.cost.growth.peak())

    def _start(self) -> Path | None:
        """The checkpoint to go on from."""
        if self.cfg.resume is None:
            return self._given()
        found = checkpoints.newest(self.folder / "checkpoints")
        if self.record.content["status"] == "running":
            log.warning("The run in %s ended without a word: it was killed, or the machine went down.", self.folder)
        if found is not None and not self.cfg.train:
            refuse_gated(checkpoints.load(found), found)
        log.info("Going on from %s.", found or "the beginning: there is no checkpoint yet")
        return found or self._given()

    def _begin(self) -> None:
        """From here on the folder tells of this run: not before a resumed one is known to fit what is there."""
        self.begun = True
        ranks.forget_words(self.folder)
        record.write_config(self.folder, self.cfg)
        record.write_environment(self.folder)
        self.record.close("running")

    def _take_what_it_read(self) -> None:
        """Weights from elsewhere know the words, or the scale, of their own data alone."""
        given = self._given()
        for folder in (given.parent.parent, self.folder) if given else ():
            if (folder / "spec.json").exists():
                self.data.restore(folder)
                return

    def _load(self, path: Path) -> None:
        try:
            self.task.load_state_dict(checkpoints.load(path)["state_dict"])
        except RuntimeError as problem:
            raise UserError(
                f"{path} has weights of other names or sizes than this model: leave out what changes model, attention "
                "or data.vocabulary."
            ) from problem

    def _write_best(self, checkpoint: dict[str, Any]) -> None:
        if self.writes:
            AtomicIO().save_checkpoint(checkpoint, str(self.best))
        self.evaluator.strategy.barrier()

    def _given(self) -> Path | None:
        """`ckpt_path`, looked at before Lightning does; a run that goes on may need it no more."""
        if self.cfg.ckpt_path is None:
            return None
        path = Path(self.cfg.ckpt_path)
        if self.cfg.resume is None or path.exists():
            refuse_gated(checkpoints.load(path), path)
        return path

    def _rivals(self, kept: list[Path]) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
        """What might be better than the best weights that training came through, by name."""
        if len(kept) > 1:
            trained = {name for name, _ in self.task.named_parameters(remove_duplicate=False)}
            yield f"mean of the last {len(kept)} validations", average.mean(kept, trained)
        # What began with given weights did not start there.
        if self._given() is None and self.task.begin(self.data):
            yield "start, which training did not better", self.task.state_dict()

    def _validate(self, weights: dict[str, torch.Tensor]) -> dict[str, float]:
        self.task.load_state_dict(weights)
        self.evaluator.validate(self.task, datamodule=self.data, verbose=False)
        return {name: float(value) for name, value in self.evaluator.callback_metrics.items()}

    def _better(self, one: dict[str, float], other: dict[str, float]) -> bool:
        a, b = one[self.task.monitor], other[self.task.monitor]
        return a < b if self.task.mode == "min" else a > b

    def _note_training(self) -> None:
        if not hasattr(self, "trainer") or not self.cfg.train:
            return
        wanted = {"train/loss_epoch", *(name.replace("val/", "train/", 1) for name in self.task.metrics)} - {
            "train/loss"
        }
        known = {**self.task.trained, **self.trainer.callback_metrics}
        steps, epochs = self.trainer.global_step, self.trainer.current_epoch
        kept = self.best.with_name("last.ckpt")
        if self.trainer.world_size > 1 and not steps and kept.exists():
            # Forked processes take what they counted with them; it is in what they saved.
            last = checkpoints.load(kept)
            steps, epochs = last["global_step"], last["epoch"]
            known = {**last["manyheads"].get("trained", {}), **known}
            self.cost.load_state_dict(last["callbacks"]["Cost"])
            for guard in self._callbacks(Guard):
                guard.load_state_dict(last["callbacks"]["Guard"])
        found = {name: float(value) for name, value in known.items() if name in wanted}
        told = {"steps": steps, "epochs": epochs}
        for guard in self._callbacks(Guard):
            told["skipped_steps"] = guard.skipped
        self.record.update(train={**_short(found, "train"), **told})

    def _summary(self) -> str:
        words = [f"{kind} {self.choices[kind]}" for kind in ("data", "model", "attention", "position")]
        parameters = sum(p.numel() for p in self.model.parameters())
        return f"{' · '.join(words)} · {parameters:,} parameters · {self.folder}"


GROUPS = ("data", "model", "attention", "position", "optimizer", "schedule", "pruning")


def _first(loaders: Any) -> Any:
    return loaders[0] if isinstance(loaders, list | tuple) else loaders


def _short(found: dict[str, float], split: str) -> dict[str, float]:
    """Metrics without the name of the split; those of further test sets keep the name of their set."""
    return {name.removeprefix(f"{split}/"): value for name, value in found.items()}
