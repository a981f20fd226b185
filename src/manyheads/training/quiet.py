"""What Lightning says in every run and nobody needs to read; its warnings stay."""

import logging
import warnings


def quiet_lightning() -> None:
    """Once per process, after Lightning's import: it brings a console handler of its own, so each line came twice."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).setLevel(logging.WARNING)
    # Lightning's own use of a torch that moved on.
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    # Batches are cut out of memory: a worker process would cost more than it saves.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # torchmetrics has gathered these means from all processes already.
    warnings.filterwarnings("ignore", message=".*recommended to use `self.log.*sync_dist.*")
    # Checkpoints of the run's own folder are meant to be there when it goes on.
    warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
