"""Where a search keeps its trials: a journal in the sweep's own folder, which its jobs read and write, too."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from manyheads.config.objects import instantiate
from manyheads.errors import UserError

if TYPE_CHECKING:
    import optuna

TRIAL = "MANYHEADS_TRIAL"
JOURNAL = "optuna.journal"
PRUNER = "pruner"


def optuna_module() -> Any:
    """Optuna, silent where it would tell what the sweep tells. Raises UserError where it is not installed."""
    try:
        import optuna
    except ModuleNotFoundError as problem:
        raise UserError(
            "A search needs Optuna, which is not installed: pip install 'manyheads[sweep]', or pip install 'optuna>=4'."
        ) from problem
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def storage(path: str | Path) -> "optuna.storages.JournalStorage":
    journal = optuna_module().storages.journal
    return optuna_module().storages.JournalStorage(journal.JournalFileBackend(str(path)))


def mend(folder: Path) -> None:
    """Takes away a last line that was cut off, as a full disk leaves it: Optuna could not read what comes behind it.

    Only while nobody else writes: under the lock of the sweep, before its first job.
    """
    path = folder / JOURNAL
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)


def opened(path: str, name: str) -> "optuna.Study":
    """The study as a job sees it: with the pruner that the search chose."""
    study = optuna_module().load_study(study_name=name, storage=storage(path))
    node = study.user_attrs.get(PRUNER)
    study.pruner = optuna_module().pruners.NopPruner() if node is None else instantiate(OmegaConf.create(node))
    return study


def told_to_a_job(path: Path, study: str, number: int) -> dict[str, str]:
    """The environment by which a job knows its trial."""
    return {TRIAL: json.dumps({"storage": str(path), "study": study, "number": number})}
