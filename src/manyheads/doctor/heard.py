"""What the pipeline warns of while it is looked at: each warning is a finding."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class Heard(logging.Handler):
    """Keeps sentences instead of printing them."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.sentences: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.sentences.append(record.getMessage())


@contextmanager
def hearing() -> Iterator[Heard]:
    heard, log = Heard(), logging.getLogger("manyheads")
    before = log.propagate
    log.addHandler(heard)
    log.propagate = False
    try:
        yield heard
    finally:
        log.removeHandler(heard)
        log.propagate = before
