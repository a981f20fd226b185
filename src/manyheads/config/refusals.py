"""Combinations that compose and are each right, but that no run can do."""

from pathlib import Path

from omegaconf import DictConfig, ListConfig

from manyheads.config.ranks import started
from manyheads.errors import UserError

SPLITS = ("train", "val", "test", "cost")

RESUMABLE = (
    "resume",
    "train",
    "test",
    "preflight",
    "estimate",
    "force",
    "optimized_metric",
    "sweep.",
    "hydra.",
    "paths.",
    "hydra/",
    "logger.",
    "trainer",
    "trainer.max_",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
    "trainer.enable_progress_bar",
    "trainer.limit_test_batches",
    "trainer.log_every_n_steps",
    "trainer.profiler",
    "callbacks.last.",
    "callbacks.average.",
    "callbacks.guard.",
    "callbacks.ranks.",
    "compile",
    "activation_checkpointing",
    "task.search.",
    "task.translated",
    "data.path",
    "data.workers",
    "data.evaluation_batch_tokens",
)
"""What a resumed run may change. Optimizer, schedule and the like restore their own values, so that a change there
would be ignored; a change of model or data would be another run."""


def refuse(cfg: DictConfig, overrides: list[str]) -> None:
    """Raises UserError with the first reason."""
    for reason in reasons(cfg, overrides):
        raise UserError(reason)


def reasons(cfg: DictConfig, overrides: list[str]) -> list[str]:
    """Everything that no run can do, a sentence each."""
    found = (why(cfg) for why in (_untrained, _stepless, _absent, _unmeasured, _unshared, _unbuilt, _unpruned, _unmet))
    return [reason for reason in (_changed(cfg, overrides), *found) if reason is not None]


def _changed(cfg: DictConfig, overrides: list[str]) -> str | None:
    changed = [o for o in overrides if not _resumable(o)] if cfg.resume is not None else []
    if not changed:
        return None
    return f"{changed[0]} cannot change in the middle of a run, which goes on as it began: leave it out, or start anew."


def _resumable(override: str) -> bool:
    """An entry of RESUMABLE that ends in a mark stands for all keys that begin so."""
    key = override.lstrip("+~").partition("=")[0]
    return key in RESUMABLE or key.startswith(tuple(name for name in RESUMABLE if name[-1] in "._/"))


def _untrained(cfg: DictConfig) -> str | None:
    if cfg.train or cfg.ckpt_path is not None or cfg.resume is not None:
        return None
    return "train=false tests weights that are there already: name them with ckpt_path=FILE or resume=FOLDER."


def _stepless(cfg: DictConfig) -> str | None:
    key = next((key for key in ("max_epochs", "max_steps") if cfg.trainer.get(key) == 0), None)
    if not cfg.train or key is None:
        return None
    return f"trainer.{key}=0 trains nothing: give it 1 or more, or test weights by train=false ckpt_path=FILE."


def _absent(cfg: DictConfig) -> str | None:
    if cfg.ckpt_path is None or cfg.resume is not None or Path(cfg.ckpt_path).expanduser().exists():
        return None
    return f"ckpt_path={cfg.ckpt_path} is not there: name a checkpoint, such as FOLDER/checkpoints/best.ckpt."


def _unmeasured(cfg: DictConfig) -> str | None:
    for name in objectives(cfg):
        split = name.partition("/")[0]
        if split not in SPLITS:
            return f"optimized_metric={name} is no metric: name one as val/loss, or several as [val/loss,test/loss]."
        if (split == "test" and not cfg.test) or (split in ("train", "val") and not cfg.train):
            return f"optimized_metric={name} is not measured with {'test' if split == 'test' else 'train'}=false."
    return None


def _unshared(cfg: DictConfig) -> str | None:
    """What does not go with weights that are shared out."""
    strategy = str(cfg.trainer.strategy)
    if strategy.startswith("fsdp"):
        return (
            f"trainer.strategy={strategy} is torch's older FSDP, whose checkpoints have other names: take trainer=fsdp."
        )
    if "FSDP2" not in strategy:
        return None
    if str(cfg.trainer.precision).startswith("16"):
        return (
            f"trainer.precision={cfg.trainer.precision} does not go with trainer=fsdp, which cannot scale the loss: "
            "take bf16-mixed, bf16-true or 32."
        )
    if any("WeightAveraging" in str(part._target_) for part in (cfg.callbacks or {}).values() if part is not None):
        return "callbacks=ema keeps a second model whole, which trainer=fsdp has no room for: take callbacks=default."
    return None


def _unbuilt(cfg: DictConfig) -> str | None:
    if cfg.arch is None or cfg.ckpt_path is None:
        return None
    return "arch= begins with new weights, and ckpt_path= names some that are there: leave out one of both."


def _unpruned(cfg: DictConfig) -> str | None:
    """What does not go with gates."""
    if cfg.pruning is None:
        return None
    if "FSDP2" in str(cfg.trainer.strategy):
        return "pruning= ranks whole layers, which trainer=fsdp shares out: prune with trainer=ddp or on one device."
    if cfg.compile:
        return (
            "pruning= changes the model from step to step, so compile=true has nothing to gain: compile what is left."
        )
    if cfg.pruning.get("distill") is not None and cfg.ckpt_path is None:
        return "pruning/distill= learns from the trained model that pruning begins with: name it with ckpt_path=FILE."
    return None


def _unmet(cfg: DictConfig) -> str | None:
    """Processes that would not find each other."""
    ranks, strategy = started(), str(cfg.trainer.strategy)
    if ranks is not None and any(word in strategy for word in ("fork", "spawn", "notebook")):
        return (
            f"trainer.strategy={strategy} starts processes of its own, and {ranks.by} has started them already: take "
            "trainer=ddp (on CPUs with trainer.accelerator=cpu)."
        )
    if ranks is None and cfg.trainer.num_nodes > 1:
        return (
            f"trainer.num_nodes={cfg.trainer.num_nodes}, but this process knows of no other: start the run on every "
            "node by torchrun, or by srun under SLURM, and leave trainer.num_nodes out."
        )
    return None


def objectives(cfg: DictConfig) -> list[str]:
    """The names in `optimized_metric`: none, one or several."""
    wanted = cfg.optimized_metric
    return [] if wanted is None else [str(name) for name in wanted] if isinstance(wanted, ListConfig) else [str(wanted)]
