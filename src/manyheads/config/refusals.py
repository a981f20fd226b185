"""Combinations that compose and are each right, but that no run can do."""

from omegaconf import DictConfig

from manyheads.errors import UserError

RESUMABLE = (
    "resume",
    "train",
    "test",
    "preflight",
    "optimized_metric",
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
    "task.search.",
    "task.translated",
    "data.path",
    "data.workers",
    "data.evaluation_batch_tokens",
)
"""What a resumed run may change. Optimizer, schedule and the like restore their own values, so that a change there
would be ignored; a change of model or data would be another run."""


def refuse(cfg: DictConfig, overrides: list[str], sweeps: bool) -> None:
    """Raises UserError with the reason."""
    for reason in (_changed(cfg, overrides), _untrained(cfg), _unmeasured(cfg), _swept(cfg) if sweeps else None):
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
    split = str(cfg.optimized_metric).partition("/")[0]
    if (split == "test" and not cfg.test) or (split in ("train", "val") and not cfg.train):
        off = "test" if split == "test" else "train"
        return f"optimized_metric={cfg.optimized_metric} is not measured with {off}=false."
    return None


def _swept(cfg: DictConfig) -> str | None:
    several = str(cfg.trainer.devices) not in ("1", "0")
    own = any(word in str(cfg.trainer.strategy) for word in ("fork", "spawn", "notebook"))
    if several and not own:
        return (
            f"A sweep cannot run trainer.strategy={cfg.trainer.strategy} on several devices: each process would start "
            "the whole sweep again. Take trainer.strategy=ddp_fork, or start each setting as a run of its own."
        )
    return None
