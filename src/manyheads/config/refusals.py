"""Combinations that compose and are each right, but that no run can do."""

from omegaconf import DictConfig, ListConfig

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
    "logger.",
    "trainer.max_",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.enable_progress_bar",
    "trainer.limit_test_batches",
    "trainer.log_every_n_steps",
    "callbacks.last.",
    "callbacks.average.",
    "callbacks.guard.",
    "task.search.",
    "task.translated",
    "data.path",
    "data.workers",
    "data.evaluation_batch_tokens",
)
"""What a resumed run may change. Optimizer, schedule and the like restore their own values, so that a change there
would be ignored; a change of model or data would be another run."""


def refuse(cfg: DictConfig, overrides: list[str]) -> None:
    """Raises UserError with the reason."""
    for reason in (_changed(cfg, overrides), _untrained(cfg), _unmeasured(cfg)):
        if reason is not None:
            raise UserError(reason)


def _changed(cfg: DictConfig, overrides: list[str]) -> str | None:
    changed = [o for o in overrides if not o.lstrip("+~").startswith(RESUMABLE)] if cfg.resume is not None else []
    if not changed:
        return None
    return f"{changed[0]} cannot change in the middle of a run, which goes on as it began: leave it out, or start anew."


def _untrained(cfg: DictConfig) -> str | None:
    if cfg.train or cfg.ckpt_path is not None or cfg.resume is not None:
        return None
    return "train=false tests weights that are there already: name them with ckpt_path=FILE or resume=FOLDER."


def _unmeasured(cfg: DictConfig) -> str | None:
    for name in objectives(cfg):
        split = name.partition("/")[0]
        if split not in SPLITS:
            return f"optimized_metric={name} is no metric: name one as val/loss, or several as [val/loss,test/loss]."
        if (split == "test" and not cfg.test) or (split in ("train", "val") and not cfg.train):
            return f"optimized_metric={name} is not measured with {'test' if split == 'test' else 'train'}=false."
    return None


def objectives(cfg: DictConfig) -> list[str]:
    """The names in `optimized_metric`: none, one or several."""
    wanted = cfg.optimized_metric
    return [] if wanted is None else [str(name) for name in wanted] if isinstance(wanted, ListConfig) else [str(wanted)]
