"""The callback that prunes while a model trains: its schedule decides how much goes, its method what.

Gates are leaves of the graph. The method gives their values before each step, and learns from the gradient that the
loss has by them, the mean over all processes; so all of them choose the same. Until the gates settle, no checkpoint
counts as the best and no patience runs out: what was there before is another model. From then on they are constant.
"""

import logging
from dataclasses import asdict
from typing import Any, Literal

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping

from manyheads.errors import UserError
from manyheads.pruning.choose import Rules, refuse_unreachable
from manyheads.pruning.cost import Costs, unit_costs
from manyheads.pruning.gates import Gates, of_content, put
from manyheads.pruning.method import Ground, Method
from manyheads.pruning.schedule import Schedule
from manyheads.pruning.sites import refuse_uncut, sites
from manyheads.task.base import total_steps

log = logging.getLogger(__name__)


SHORT = 0.005
"""Of the target, which units of some size may miss."""


class Pruner(Callback):
    """target: which share of `base` goes: of the prunable weights, of their arithmetic, or of their measured time.

    heads: `groups` closes key-value heads with all query heads that read them; `within`, as many query heads of each;
    `none`, none. neurons: whether those of feed-forward parts go. layers: which share of what goes is whole sublayers
    (L0 has gates on all of them where it is above 0). least: heads, or groups, and neurons that each sublayer keeps.
    moments: `keep` or `drop` what the optimizer remembers, when the gates settle.
    distill: what the unpruned model teaches meanwhile, or None. seed: of all that is drawn.
    """

    def __init__(
        self,
        target: float,
        base: Literal["parameters", "flops", "latency"],
        heads: Literal["groups", "within", "none"],
        neurons: bool,
        layers: float,
        least: int,
        schedule: Schedule,
        method: Method,
        moments: Literal["keep", "drop"],
        distill: Any,
        seed: int,
    ) -> None:
        _refuse(target, base, heads, layers, least, moments)
        self.target, self.base, self.schedule, self.method, self.moments = target, base, schedule, method, moments
        self.rules = Rules(heads, neurons, layers, least, method.together)
        self.distill, self.seed = distill, seed
        self.settled, self.compacted, self.settled_at = False, False, None
        self._state: dict[str, Any] | None = None
        self._costs: Costs | None = None
        self._now: Gates | None = None
        self._leaves: Gates | None = None
        self._curves: dict[str, float] = {}
        self._ends = False

    @property
    def state_key(self) -> str:
        return "Pruner"

    @property
    def unsettled(self) -> bool:
        """Whether what is validated now is not yet the model that will be left."""
        return not (self.settled or self.compacted)

    # --- the training -----------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.compacted:
            log.info("The model is compact already; pruning has nothing left to do.")
            return
        if self.distill is not None:
            self.distill.start(trainer, pl_module)
        self._total, self._found = _total(trainer), sites(pl_module.model)
        if self._costs is None:
            self._costs = self._measured(trainer, pl_module)
        if self.rules.heads != "none":
            refuse_uncut(self._found)
        self.method.refuse_uninformed(self.schedule, self._total)
        refuse_unreachable(self._found, self._costs, self.target, self.rules)
        self.method.start(Ground(self._found, self.rules, self._costs, self.seed, pl_module.device))
        if self._state is not None and not self.settled:
            self.method.load_state_dict(self._state["method"])
        self._begin_step(trainer, pl_module)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, index: int) -> None:
        if not self.compacted and index % trainer.accumulate_grad_batches == 0:
            self._begin_step(trainer, pl_module)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        if self.compacted:
            return
        if self.distill is not None:
            self.distill.before_step(trainer)
        grads = None if self.settled else self._gradients(trainer, pl_module)
        if grads is not None:
            self._curves = self.method.observe(self._leaves, grads, self._share(trainer.global_step))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        if not self.compacted and trainer.global_step % trainer.log_every_n_steps == 0:
            asked = self.target if self.settled else self._share(trainer.global_step)
            figures = {"asked": asked, "gone": self._costs.share(self._open().kept()), **self._curves}
            pl_module.log_dict({f"pruning/{name}": float(x) for name, x in figures.items()}, batch_size=1)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.compacted and self._costs is not None:
            put(pl_module.model, self._open())
        self._ends = trainer.should_stop

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.compacted or self._costs is None or trainer.state.fn != "fit":
            return
        if self.unsettled:
            _begin_patience(trainer)
            # What patience has stopped goes on; what a clock stopped before the validation does not.
            trainer.should_stop = self._ends

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.compacted:
            return
        if not self.settled and trainer.global_step >= self.schedule.settles(self._total):
            self._settle(trainer)
        put(pl_module.model, self._open())
        if self.distill is not None:
            self.distill.stop(pl_module)

    # --- what a run asks --------------------------------------------------------------------------------------------

    def summary(self) -> dict[str, Any]:
        """For the record of a run."""
        asked = {"method": type(self.method).__name__.lower(), "target": self.target, "base": self.base}
        if self._costs is None or self._now is None:
            return {**asked, "settled_at": self.settled_at}
        return {**asked, "reached": self._costs.share(self._now.kept()), "settled_at": self.settled_at}

    def state_dict(self) -> dict[str, Any]:
        if self._costs is None or self.compacted:
            return self._state or {"settled": self.settled, "compacted": self.compacted}
        done = {"settled": self.settled, "compacted": self.compacted, "settled_at": self.settled_at}
        taught = {} if self.distill is None else {"distill": self.distill.state_dict()}
        method = {} if self.settled else self.method.state_dict()
        return {**done, "gates": self._open().content(), "method": method, "costs": asdict(self._costs), **taught}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._state = state_dict
        self.settled, self.compacted = state_dict["settled"], state_dict["compacted"]
        self.settled_at = state_dict.get("settled_at")
        if self.distill is not None:
            self.distill.load_state_dict(state_dict.get("distill", {}))
        if "costs" in state_dict:
            self._costs = Costs(**state_dict["costs"])
        if "gates" in state_dict:
            self._now = of_content(state_dict["gates"])

    # --- a step -----------------------------------------------------------------------------------------------------

    def _begin_step(self, trainer: Trainer, pl_module: LightningModule) -> None:
        step = trainer.global_step
        if not self.settled and step >= self.schedule.settles(self._total):
            self._settle(trainer)
        if self.settled:
            put(pl_module.model, self._now)
            return
        gates = self.method.training(step, self._share(step))
        leaf = lambda z: z.detach().to(pl_module.device, copy=True).requires_grad_()  # noqa: E731
        self._leaves = Gates(*({name: leaf(z) for name, z in part.items()} for part in (gates.units, gates.layers)))
        put(pl_module.model, self._leaves)

    def _share(self, step: int) -> float:
        """Of the costs, asked for in this step; it changes every so many steps."""
        begin, every = self.schedule.begins(self._total), self.schedule.every
        if step >= begin:
            step = begin + (step - begin) // every * every
        return self.target * self.schedule.progress(step, self._total)

    def _settle(self, trainer: Trainer) -> None:
        self._now, self.settled, self.settled_at = self.method.settle(self.target), True, trainer.global_step
        self._curves = {}
        _begin_patience(trainer)
        if self.moments == "drop":
            for optimizer in trainer.optimizers:
                optimizer.state.clear()
        gone = self._costs.share(self._now.kept())
        log.info(
            "Step %s: the gates are settled; %.1f%% of the prunable %s are gone.",
            self.settled_at,
            100 * gone,
            self.base,
        )
        if gone < self.target - SHORT:
            log.warning("That is less than pruning.target=%g: the rules left no more to close.", self.target)

    def _open(self) -> Gates:
        """The gates as they would be if training ended now."""
        return self._now if self.settled else self.method.evaluating()

    def _gradients(self, trainer: Trainer, pl_module: LightningModule) -> Gates | None:
        """By the gates of this step, the mean over processes; None where they are no numbers."""
        parts = (self._leaves.units, self._leaves.layers)
        leaves = [z for part in parts for z in part.values()]
        flat = torch.cat([(torch.zeros_like(z) if z.grad is None else z.grad).flatten() for z in leaves])
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        flat = flat if scaler is None else flat / scaler.get_scale()
        # The task weighs its own gradients so behind this hook.
        share = pl_module.step_mean.share
        flat = flat if share is None else flat * share.to(flat)
        if trainer.world_size > 1:
            dist.all_reduce(flat)
            flat = flat / trainer.world_size
        if not torch.isfinite(flat).all():
            return None
        pieces = iter(flat.split([z.numel() for z in leaves]))
        return Gates(*({name: next(pieces).view_as(z) for name, z in part.items()} for part in parts))

    def _measured(self, trainer: Trainer, pl_module: LightningModule) -> Costs:
        """Costs of a real batch of the validation part, which leaves the training's order as it is."""

        def run() -> None:
            # A loader draws a number when it begins.
            with torch.random.fork_rng(devices=[]), torch.no_grad(), trainer.precision_plugin.forward_context():
                batch = next(iter(_first(trainer.datamodule.val_dataloader())))
                pl_module.step(trainer.strategy.batch_to_device(batch))

        return unit_costs(pl_module.model, run, self.base, self.rules.heads)


def _refuse(target: float, base: str, heads: str, layers: float, least: int, moments: str) -> None:
    if not 0 <= target < 1:
        raise UserError(f"pruning.target={target} is no share that can go: set 0 or more, and less than 1.")
    if not 0 <= layers <= 1:
        raise UserError(f"pruning.layers={layers} is no share of what goes: set 0 to 1.")
    if least < 0:
        raise UserError(f"pruning.least={least} must be 0 or more.")
    for key, value, known in (
        ("base", base, ("parameters", "flops", "latency")),
        ("heads", heads, ("groups", "within", "none")),
        ("moments", moments, ("keep", "drop")),
    ):
        if value not in known:
            raise UserError(f"pruning.{key}={value} is not known; choose one of {', '.join(known)}.")


def _begin_patience(trainer: Trainer) -> None:
    """What was validated so far was another model: the next validation is the first one."""
    for stopping in trainer.callbacks:
        if isinstance(stopping, EarlyStopping):
            stopping.wait_count, stopping.stopped_epoch = 0, 0
            stopping.best_score = torch.tensor(torch.inf if stopping.monitor_op == torch.lt else -torch.inf)


def _total(trainer: Trainer) -> int:
    total = total_steps(trainer)
    if total is None:
        raise UserError("pruning= needs to know how long the training is: set trainer.max_epochs or trainer.max_steps.")
    return total


def _first(loaders: Any) -> Any:
    return loaders[0] if isinstance(loaders, list | tuple) else loaders
