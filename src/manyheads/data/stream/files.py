"""Text files of any size, read in blocks: nothing here holds more than a block and the document that it is in.

UTF-8, plain or .gz. A byte-order mark is dropped, and every line end is read as \\n.
"""

import gzip
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import TextIO

from manyheads.data.stream.source import Blocks, Faults, Source
from manyheads.errors import UserError

BLOCK = 1 << 20  # characters


@dataclass(frozen=True)
class Survey:
    """What one reading of a file finds: a digest of its text, its characters, and why it cannot be used."""

    digest: str
    size: int
    fault: str | None


@dataclass(frozen=True)
class TextFile(Source):
    """A file as one document, or as the pieces between `separator`s, whose outer line ends are no part of them.

    part: from where to where the text is used, in characters; None: all of it.
    """

    path: Path
    separator: str | None
    part: tuple[int, int] | None = None

    @property
    def place(self) -> str:
        return str(self.path)

    @property
    def digest(self) -> str:
        return sha256(repr((self.survey.digest, self.separator, self.part)).encode()).hexdigest()

    @property
    def size(self) -> int:
        return self.part[1] - self.part[0] if self.part else self.survey.size

    @cached_property
    def survey(self) -> Survey:
        return survey(self.path)

    def documents(self, faults: Faults) -> Iterator[Blocks]:
        if self.survey.fault:
            faults.add(f"{self.path} {self.survey.fault}")
            return
        text = blocks(self.path, *(self.part or (0, self.survey.size)))
        if self.separator is None:
            yield text
        else:
            yield from ([found] for found in between(text, self.separator))

    def shared_out(self, shares: list[float]) -> list["TextFile"]:
        """The file in parts of these shares, one after another, cut at line ends where there are any."""
        places = [int(sum(shares[:i]) * self.survey.size) for i in range(1, len(shares))]
        cuts = [0, *line_ends(self.path, places), self.survey.size]
        return [TextFile(self.path, self.separator, part) for part in pairwise(cuts)]


def survey(path: Path) -> Survey:
    digest, size, blank = sha256(), 0, True
    try:
        with opened(path) as file:
            while block := file.read(BLOCK):
                digest.update(block.encode())
                size += len(block)
                blank = blank and block.isspace()
    except UnicodeDecodeError as error:
        return Survey(
            sha256(path.read_bytes()).hexdigest(), 0, f"is not UTF-8 (byte 0x{error.object[error.start]:02x})"
        )
    return Survey(digest.hexdigest(), size, "holds no text" if blank else None)


def blocks(path: Path, begin: int, end: int) -> Iterator[str]:
    """The characters [begin, end) of a file."""
    at = 0
    with opened(path) as file:
        while at < end and (block := file.read(BLOCK)):
            found = block[max(0, begin - at) : end - at]
            at += len(block)
            if found:
                yield found


def between(text: Iterable[str], separator: str) -> Iterator[str]:
    """What stands between separators and is not blank."""
    rest = ""
    for block in text:
        *whole, rest = (rest + block).split(separator)
        yield from (found.strip("\n") for found in whole if not found.isspace() and found)
    if rest and not rest.isspace():
        yield rest.strip("\n")


def line_ends(path: Path, places: list[int]) -> list[int]:
    """Behind the first line end at or after each place, or the place itself where none follows in its block."""
    found, at = [], 0
    with opened(path) as file:
        while block := file.read(BLOCK):
            for place in (place for place in places if at <= place < at + len(block)):
                end = block.find("\n", place - at)
                found.append(place if end < 0 else at + end + 1)
            at += len(block)
    return found + places[len(found) :]


@contextmanager
def opened(path: Path, errors: str = "strict") -> Iterator[TextIO]:
    with (
        whole(path),
        (gzip.open if path.suffix == ".gz" else open)(
            path, "rt", encoding="utf-8-sig", errors=errors, newline=None
        ) as file,
    ):
        yield file


@contextmanager
def whole(path: Path) -> Iterator[None]:
    """Raises UserError where a file cannot be read within, or turns out to be no whole gzip file."""
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is no whole gzip file ({error}); copy it again, or unpack it.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
