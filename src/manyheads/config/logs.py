"""Who speaks in the log: the first process alone, and every line once."""

import logging
import os

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
ADVERTS = ("litlogger", "litmodels", "LitLogger", "LitModelCheckpoint")


class FirstProcess(logging.Filter):
    """Lets other processes of a distributed run report errors only, and keeps Lightning's adverts out.

    Asked at each line, since a forked process learns its rank after the handlers were made.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        rank = next((os.environ[name] for name in RANKS if name in os.environ), "0")
        if rank != "0" and record.levelno < logging.ERROR:
            return False
        return not any(word in record.getMessage() for word in ADVERTS)


def one_voice() -> None:
    """To be called once Lightning is imported: it then has a handler of its own, which repeats each line."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).handlers.clear()
