"""What every source of documents can do, whatever its format, and what becomes of documents that cannot be used."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256

from manyheads.errors import UserError

log = logging.getLogger(__name__)

Blocks = Iterable[str]
"""A document's text, in one block or several."""

EXAMPLES = 3  # faults named in a message: enough to see a pattern, few enough to read
BUCKETS = 100


class Source(ABC):
    """Documents of one file, or of one split of a data set. May be read any number of times."""

    place: str
    digest: str
    size: int | None
    """Characters, where they are known without tokenising."""

    @abstractmethod
    def documents(self, faults: "Faults") -> Iterator[Blocks]:
        """Documents in their order; those that cannot be used go to `faults`. A document's blocks are read at once."""


class Faults:
    """Documents that cannot be used: the first one ends the run, or all are left out and counted (`skip`)."""

    def __init__(self, on_bad_row: str) -> None:
        self.skip, self.count, self.named = on_bad_row == "skip", 0, []

    def add(self, what: str) -> None:
        if not self.skip:
            raise UserError(f"{what}; mend it, or leave such documents out with data.on_bad_row=skip.")
        self.count += 1
        if len(self.named) < EXAMPLES:
            self.named.append(what)


def warn(name: str, count: int, named: list[str]) -> None:
    """Says what was left out of a split."""
    if count:
        more = "; …" if count > len(named) else ""
        log.warning("%s: %s documents left out: %s%s", name, f"{count:,}", "; ".join(named), more)


def bucket(text: str) -> int:
    """One of 100, by a hash: all copies of a text fall on the same side of a split, on every machine."""
    return int.from_bytes(sha256(text.encode()).digest()[:4]) % BUCKETS


@dataclass(frozen=True)
class Documents:
    """A split: sources one after another. kept: the buckets of the documents that belong to it; None: all."""

    sources: tuple[Source, ...]
    kept: frozenset[int] | None = field(default=None)

    @property
    def digest(self) -> str:
        """The same for the same documents in the same order."""
        kept = None if self.kept is None else sorted(self.kept)
        return sha256(repr((kept, [source.digest for source in self.sources])).encode()).hexdigest()

    @property
    def size(self) -> int | None:
        sizes = [source.size for source in self.sources]
        return None if None in sizes else sum(sizes)

    def read(self, faults: Faults) -> Iterator[Blocks]:
        for source in self.sources:
            for blocks in source.documents(faults):
                if self.kept is None:
                    yield blocks
                elif bucket(text := "".join(blocks)) in self.kept:
                    yield [text]
