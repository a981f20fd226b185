"""Who speaks in the log: the first process of a distributed run; from the others errors only."""

import logging
import os

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")


class FirstProcess(logging.Filter):
    """Asked at each line, since a forked process learns its rank after the handlers were made."""

    def filter(self, record: logging.LogRecord) -> bool:
        rank = next((os.environ[name] for name in RANKS if name in os.environ), "0")
        return rank == "0" or record.levelno >= logging.ERROR
