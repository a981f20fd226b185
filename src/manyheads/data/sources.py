"""Where sentence pairs come from: the embedded corpus, line-aligned files, tables, the hub.

Whatever the source, the result is the same: split name -> `datasets.Dataset` with the columns `source` and `target`
(and `place`, the row's line in its file). `train` and `val` are always there; every other name is a test set.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from datasets import Dataset

from manyheads.data.lines import is_folder_of_lines, read_folder
from manyheads.data.pairs import Raw, rows_of, sift
from manyheads.data.tables import BUILDERS, kind, read_hub, read_table, stem
from manyheads.errors import UserError

VALIDATION = ("val", "valid", "validation", "dev")
SHARES = {"val": range(0, 5), "test": range(5, 10)}  # of 100 buckets of a hash: the usual 90 / 5 / 5


@dataclass(frozen=True)
class Origin:
    """What the yaml says about the source; keys as in conf/data/translation.yaml."""

    path: str | None
    hub: str | None
    source: str
    target: str
    on_bad_row: str
    pairs: int
    seed: int

    @property
    def names(self) -> tuple[str, str]:
        """Language suffixes of files, or column names."""
        return self.source, self.target


def read_splits(origin: Origin) -> dict[str, Dataset]:
    """All splits: `train`, `val`, then the test sets by name. Raises UserError with file, line and what to do."""
    _check(origin)
    if origin.path is None and origin.hub is None:
        return _embedded(origin.pairs, origin.seed)
    raw = read_hub(origin.hub, origin.names) if origin.hub else _read_train(Path(origin.path), origin.names)
    place = origin.hub or origin.path
    return _complete({_split(name, raw, place): sift(raw[name], origin.on_bad_row) for name in raw}, place)


def read_tests(path: str, source: str, target: str, on_bad_row: str) -> dict[str, Dataset]:
    """Test sets alone, by name: those of a folder that may hold no training data, or one table file as one test set.

    Raises UserError where there is none, and for broken rows as `on_bad_row` says.
    """
    place = Path(path)
    raw = _read_path(place, (source, target), _is_test)
    if not raw:
        raise UserError(f"{place} holds no test set: {_looked_for(source, target, 'test*')}; {_found(place)}.")
    return {name: sift(one, on_bad_row) for name, one in raw.items()}


def _check(origin: Origin) -> None:
    if origin.path and origin.hub:
        raise UserError("data.path and data.hub are both given; a run reads one of them.")
    if origin.on_bad_row not in ("refuse", "skip"):
        raise UserError(f"data.on_bad_row={origin.on_bad_row} is neither refuse nor skip.")
    if origin.source == origin.target:
        raise UserError(f"data.source and data.target are both {origin.source}; they name two languages or columns.")


def _embedded(pairs: int, seed: int) -> dict[str, Dataset]:
    from manyheads.data.synthetic import generate

    splits = generate(pairs, seed)
    return {
        name: rows_of(
            {
                "source": [source for source, _ in rows],
                "target": [target for _, target in rows],
                "place": list(range(1, len(rows) + 1)),
            },
            (f"embedded corpus ({name})",) * 2,
            " row ",
        )
        for name, rows in splits.items()
    }


def _read_train(path: Path, names: tuple[str, str]) -> dict[str, Raw]:
    raw = _read_path(path, names, _wanted)
    if path.is_file():
        return {"train": raw.popitem()[1]}
    if "train" not in raw:
        raise UserError(f"data.path={path} holds no training data: {_looked_for(*names, 'train')}; {_found(path)}.")
    return raw


def _read_path(path: Path, names: tuple[str, str], wanted: Callable[[str], bool]) -> dict[str, Raw]:
    """Stem -> pairs, of the files of a folder whose stem is wanted, or of one table whatever its name."""
    if path.is_file():
        if not kind(path):
            raise UserError(f"data.path={path} is no table: a single file ends in {', '.join(BUILDERS)} (or .gz).")
        return {stem(path): read_table(path, names)}
    if not path.is_dir():
        raise UserError(f"data.path={path}: there is no such file or folder.")
    if is_folder_of_lines(path, names):
        return read_folder(path, names, wanted)
    tables = {stem(file): file for file in sorted(path.iterdir()) if kind(file) and wanted(stem(file))}
    return {name: read_table(file, names) for name, file in tables.items()}


def _is_test(name: str) -> bool:
    return name.startswith("test")


def _wanted(name: str) -> bool:
    return name == "train" or name in VALIDATION or _is_test(name)


def _split(name: str, names: Iterable[str], place: str) -> str:
    """The split that a file's stem stands for. Raises UserError where two files claim to be the validation split."""
    claims = [other for other in names if other in VALIDATION]
    if name in VALIDATION and len(claims) > 1:
        raise UserError(f"{place} has {' and '.join(claims)}, and only one of them can be the validation split.")
    return "val" if name in VALIDATION else name


def _complete(splits: dict[str, Dataset], place: str) -> dict[str, Dataset]:
    """Takes a missing val or test split out of train, and puts the splits in order."""
    splits = splits | _share_out(splits["train"], [share for share in SHARES if not _has(splits, share)])
    empty = [name for name, rows in splits.items() if not len(rows)]
    if empty:
        raise UserError(f"{place} leaves no row for {' and '.join(empty)}; bring more rows, or a file for each split.")
    return {name: splits[name] for name in ("train", "val", *sorted(splits.keys() - {"train", "val"}))}


def _has(splits: dict[str, Dataset], share: str) -> bool:
    return any(_is_test(name) if share == "test" else name == share for name in splits)


def _share_out(train: Dataset, shares: list[str]) -> dict[str, Dataset]:
    """By a hash of the source sentence, so that all copies of a sentence fall on the same side, on every machine."""
    buckets = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) % 100 for text in train["source"]]
    taken = {share: [row for row, bucket in enumerate(buckets) if bucket in SHARES[share]] for share in shares}
    gone = set().union(*taken.values())
    kept = [row for row in range(len(buckets)) if row not in gone]
    return {name: train.select(rows) for name, rows in ({"train": kept} | taken).items()}


def _looked_for(source: str, target: str, name: str) -> str:
    tables = ", ".join(name + suffix for suffix in BUILDERS)
    return f"{name}.{source} and {name}.{target} or {tables} (plain or .gz) were looked for"


def _found(place: Path) -> str:
    names = sorted(file.name for file in place.iterdir())
    return f"found: {', '.join(names[:12])}{', …' if len(names) > 12 else ''}" if names else "the folder is empty"
