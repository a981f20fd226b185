"""What Lightning says in every run and nobody needs to read; its warnings stay."""

import logging
import threading
import warnings


def quiet_lightning() -> None:
    """Once per process, after Lightning's import: it brings a console handler of its own, so each line came twice."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).setLevel(logging.WARNING)
    threading.excepthook = _in_a_thread
    # Lightning's own use of a torch that moved on.
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    # Batches are cut out of memory: a worker process would cost more than it saves.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # torchmetrics has gathered these means from all processes already.
    warnings.filterwarnings("ignore", message=".*recommended to use `self.log.*sync_dist.*")
    # Checkpoints of the run's own folder are meant to be there when it goes on.
    warnings.filterwarnings("ignore", message=".*exists and is not empty.*")


def _in_a_thread(found: threading.ExceptHookArgs) -> None:
    """TensorBoard's writer hands its exception to the next line that is logged, which tells it."""
    if not type(found.thread).__module__.startswith("tensorboard"):
        threading.__excepthook__(found)
