"""Where documents come from, and which of them train, validate and test.

Text files and tables of a folder are split by name (train*, val*, test*); what has no split of its own is taken out of
the training documents: by a hash of the document, or, where there are few whole files, from the end of each.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from manyheads.data.stream.files import TextFile
from manyheads.data.stream.rows import TableFile, hub_splits
from manyheads.data.stream.source import BUCKETS, Blocks, Documents, Faults, Source
from manyheads.data.synthetic.prose import EDITION, stories_of
from manyheads.data.tables import BUILDERS, kind, stem
from manyheads.errors import UserError

TRAIN = re.compile(r"train(ing)?([^a-z].*)?$", re.IGNORECASE)
VAL = re.compile(r"(val|valid|validation|dev)([^a-z].*)?$", re.IGNORECASE)
TEST = re.compile(r"test([^a-z].*)?$", re.IGNORECASE)
SHARES = {"val": range(0, 5), "test": range(5, 10)}  # of 100 buckets of a hash: the usual 90 / 5 / 5
MANY = 100  # files: of fewer, a hash may leave a split without any


@dataclass(frozen=True)
class Origin:
    """What the yaml says about the source; keys as in conf/data/language_model.yaml."""

    path: str | None
    hub: str | None
    text: str
    separator: str | None
    on_bad_row: str
    stories: int
    seed: int

    def __post_init__(self) -> None:
        if self.path and self.hub:
            raise UserError("data.path and data.hub are both given; a run reads one of them.")
        if self.on_bad_row not in ("refuse", "skip"):
            raise UserError(f"data.on_bad_row={self.on_bad_row} is neither refuse nor skip.")
        if self.separator == "":
            raise UserError("data.separator is empty; null makes every file one document.")


@dataclass(frozen=True)
class Stories(Source):
    """The generated text, told only where it is not on disk yet."""

    split: str
    stories: int
    seed: int

    size = None

    @property
    def place(self) -> str:
        return f"generated stories ({self.split})"

    @property
    def digest(self) -> str:
        return sha256(repr((EDITION, self.split, self.stories, self.seed)).encode()).hexdigest()

    def documents(self, faults: Faults) -> Iterator[Blocks]:
        return ([text] for text in stories_of(self.split, self.stories, self.seed))


def read_splits(origin: Origin) -> dict[str, Documents]:
    """`train`, `val`, then the test sets by name. Raises UserError with what is missing and what to do."""
    if origin.path is None and origin.hub is None:
        splits = ("train", "val", "test")
        return {split: Documents((Stories(split, origin.stories, origin.seed),)) for split in splits}
    found = hub_splits(origin.hub, origin.text) if origin.hub else _named(Path(origin.path), origin)
    place = origin.hub or origin.path
    splits = _by_split({name: (one,) for name, one in found.items()} if origin.hub else found, place)
    return _complete(splits, origin.separator)


def read_tests(path: str, origin: Origin) -> dict[str, Documents]:
    """Test sets alone: those that a folder names test*, or else all of its text as one."""
    found = _named(Path(path), origin)
    named = {name: sources for name, sources in found.items() if TEST.match(name)}
    if not named:
        named = {"test": tuple(source for sources in found.values() for source in sources)}
    return {name: Documents(sources) for name, sources in named.items()}


def _named(path: Path, origin: Origin) -> dict[str, tuple[Source, ...]]:
    """Name -> its files: the stem, or the folder below `path` that they are in."""
    if not path.exists():
        raise UserError(f"data.path={path}: there is no such file or folder.")
    if path.is_file():
        if not (_is_text(path) or kind(path)):
            raise UserError(
                f"data.path={path} is neither text nor table: it ends in .txt, {', '.join(BUILDERS)} (.gz)."
            )
        return {stem(path): (_source(path, origin),)}
    files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
    wanted = [file for file in files if _is_text(file)] or [file for file in files if kind(file)]
    if not wanted:
        raise UserError(
            f"data.path={path} holds no text: .txt files, or {', '.join(BUILDERS)}, were looked for (.gz too)."
        )
    named: dict[str, tuple[Source, ...]] = {}
    for file in wanted:
        first = file.relative_to(path).parts[0]
        name = stem(file) if file.parent == path else first
        named[name] = (*named.get(name, ()), _source(file, origin))
    return named


def _is_text(path: Path) -> bool:
    return path.name.removesuffix(".gz").endswith(".txt")


def _source(path: Path, origin: Origin) -> Source:
    return TextFile(path, origin.separator) if _is_text(path) else TableFile(path, origin.text)


def _by_split(found: dict[str, tuple[Source, ...]], place: str) -> dict[str, tuple[Source, ...]]:
    """Names to splits; where none is a split's name, everything is for training."""

    def of(fits: Callable[[str], object]) -> tuple[Source, ...]:
        return tuple(source for name, sources in found.items() if fits(name) for source in sources)

    train, val = of(TRAIN.match), of(VAL.match)
    tests = {name: sources for name, sources in found.items() if TEST.match(name)}
    if not train and not val and (not tests or len(found) == 1):
        return {"train": of(lambda name: True)}
    if not train:
        names = ", ".join(list(found)[:12])
        raise UserError(f"data.path={place} holds no training text: train* was looked for; found: {names}.")
    return {"train": train} | ({"val": val} if val else {}) | tests


def _complete(splits: dict[str, tuple[Source, ...]], separator: str | None) -> dict[str, Documents]:
    """Takes what is missing out of the training documents, and puts the splits in order."""
    tests = {name: Documents(found) for name, found in sorted(splits.items()) if name not in ("train", "val")}
    missing = [name for name in SHARES if name not in splits and not (name == "test" and tests)]
    shared = _share_out(splits["train"], missing, separator)
    given = {"val": Documents(splits["val"])} if "val" in splits else {}
    every = shared | given | tests
    return {name: every[name] for name in ("train", "val", *(name for name in every if name not in ("train", "val")))}


def _share_out(train: tuple[Source, ...], missing: list[str], separator: str | None) -> dict[str, Documents]:
    if not missing:
        return {"train": Documents(train)}
    if separator is None and isinstance(train[0], TextFile):
        return _by_file(train, missing) if len(train) >= MANY else _from_ends(train, missing)
    gone = {bucket for name in missing for bucket in SHARES[name]}
    kept = {"train": frozenset(range(BUCKETS)) - gone} | {name: frozenset(SHARES[name]) for name in missing}
    return {name: Documents(train, buckets) for name, buckets in kept.items()}


def _by_file(train: tuple[TextFile, ...], missing: list[str]) -> dict[str, Documents]:
    """Whole files by a hash of their text."""
    split = {bucket: name for name in missing for bucket in SHARES[name]}
    of = [split.get(int(file.survey.digest[:8], 16) % BUCKETS, "train") for file in train]
    found = {name: [file for file, its in zip(train, of, strict=True) if its == name] for name in ("train", *missing)}
    return {name: Documents(tuple(files)) for name, files in found.items()}


def _from_ends(train: tuple[TextFile, ...], missing: list[str]) -> dict[str, Documents]:
    """The last parts of every file."""
    shares = [len(SHARES[name]) / BUCKETS for name in missing]
    parts = [file.shared_out([1 - sum(shares), *shares]) for file in train if not file.survey.fault]
    broken = tuple(file for file in train if file.survey.fault)
    columns = zip(*parts, strict=True) if parts else [()] * (1 + len(missing))
    found = dict(zip(("train", *missing), map(tuple, columns), strict=True))
    return {name: Documents(files + (broken if name == "train" else ())) for name, files in found.items()}
