"""Who speaks in the log: the first process of a distributed run; from the others errors only."""

import logging
import os
import sys

from manyheads.atomic import FULL

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")


class FirstProcess(logging.Filter):
    """Asked at each line, since a forked process learns its rank after the handlers were made."""

    def filter(self, record: logging.LogRecord) -> bool:
        rank = next((os.environ[name] for name in RANKS if name in os.environ), "0")
        return rank == "0" or record.levelno >= logging.ERROR


class LogFile(logging.FileHandler):
    """A log on a full disk loses lines: the run itself says so, once, by what it cannot write either."""

    def handleError(self, record: logging.LogRecord) -> None:
        problem = sys.exception()
        if not (isinstance(problem, OSError) and problem.errno in FULL):
            super().handleError(record)
