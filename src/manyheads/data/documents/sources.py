"""Where documents come from: the embedded notes, tables, a folder of text files, the hub.

Whatever the source, the result is the same: split name -> Documents. `train` and `val` are always there; every other
name is a test set.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from manyheads.data.documents.documents import Columns, Documents, gather
from manyheads.data.documents.splits import by_column, share_out
from manyheads.data.documents.table import Table, open_hub, open_table, table_of, text_files
from manyheads.data.sources import VALIDATION
from manyheads.data.tables import BUILDERS, kind, stem
from manyheads.errors import UserError

EMBEDDED = Columns("text", "label", (), None, None, "name", None, "", False)


@dataclass(frozen=True)
class Notes:
    """What the embedded notes are like; keys as in conf/data/clinical_long.yaml."""

    documents: int
    seed: int
    length: int
    depth: tuple[float, float]
    noise: float


@dataclass(frozen=True)
class Origin:
    """What the yaml says about the source."""

    path: str | None
    hub: str | None
    questions: str | None
    columns: Columns
    on_bad_row: str
    cache: str
    notes: Notes


def read_splits(origin: Origin) -> dict[str, Documents]:
    """All splits: `train`, `val`, then the test sets by name. Raises UserError with file, line and what to do."""
    _check(origin)
    if origin.path is None and origin.hub is None:
        return _embedded(origin.notes)
    tables, origin = _open(origin)
    if origin.questions is not None and len(tables) > 1:
        raise UserError(
            f"data.questions={origin.questions} asks about one table of documents, but {origin.path} has "
            f"{', '.join(tables)}; put the questions into these tables, or name one table and a column with data.split."
        )
    found = {name: _gather(table, origin) for name, table in tables.items()}
    if origin.columns.split is not None:
        if len(found) > 1:
            raise UserError(
                f"data.split={origin.columns.split} names a column, but {origin.path or origin.hub} is split by files "
                f"already ({', '.join(found)}); leave data.split out."
            )
        found = by_column(found.popitem()[1])
    return share_out(found, origin.path or origin.hub)


def read_tests(origin: Origin) -> dict[str, Documents]:
    """Test sets alone, by name: those of a folder that may hold no training data, or one file as one test set.

    Raises UserError where there is none, and for broken rows as `on_bad_row` says.
    """
    place = Path(origin.path)
    # Questions about other documents lie beside them, under the same name.
    questions = origin.questions and Path(origin.questions).name
    tables, origin = _open(replace(origin, hub=None, questions=questions, columns=replace(origin.columns, split=None)))
    if len(tables) > 1:
        tables = {name: table for name, table in tables.items() if name.startswith("test")}
    if not tables:
        raise UserError(f"{place} holds no test set: test*.csv, .tsv, .jsonl or .parquet were looked for.")
    found = {stem(place) if place.is_file() else name: table for name, table in tables.items()}
    return {"test" if name in ("train", "val") else name: _gather(table, origin) for name, table in found.items()}


def _check(origin: Origin) -> None:
    if origin.path and origin.hub:
        raise UserError("data.path and data.hub are both given; a run reads one of them.")
    if (origin.questions is None) != (origin.columns.key is None):
        raise UserError(
            "data.questions names the file of questions and data.key the column that it shares with the documents; "
            "one of them is missing."
        )


def _gather(table: Table, origin: Origin) -> Documents:
    questions = None if origin.questions is None else open_table(_beside(origin), origin.cache)
    return gather(table, origin.columns, origin.on_bad_row, questions)


def _beside(origin: Origin) -> Path:
    """The file of questions, as it is named or in the folder of the documents."""
    path = Path(origin.questions)
    folder = Path(origin.path or ".")
    inside = (folder if folder.is_dir() else folder.parent) / path.name
    found = path if path.is_file() else inside
    if not found.is_file() or not kind(found):
        raise UserError(f"data.questions={origin.questions}: there is no such table ({path} and {inside} were tried).")
    return found


def _embedded(notes: Notes) -> dict[str, Documents]:
    from manyheads.data.synthetic.notes import notes as write

    made = write(notes.documents, notes.seed, notes.length, notes.depth, notes.noise)
    tables = {name: table_of(rows, f"embedded notes ({name})") for name, rows in made.items()}
    return _ordered({name: gather(table, EMBEDDED, "refuse") for name, table in tables.items()})


def _open(origin: Origin) -> tuple[dict[str, Table], Origin]:
    """Split or file -> rows; where the path is a folder of text files, its own columns are put into the origin."""
    if origin.hub is not None:
        tables = open_hub(origin.hub, origin.cache)
        return {_split(name, tables, origin.hub): table for name, table in tables.items()}, origin
    path = Path(origin.path)
    if path.is_file():
        if not kind(path):
            raise UserError(f"data.path={path} is no table: a single file ends in {', '.join(BUILDERS)} (or .gz).")
        return {"train": open_table(path, origin.cache)}, origin
    if not path.is_dir():
        raise UserError(f"data.path={path}: there is no such file or folder.")
    files = _tables(path, origin)
    if files:
        return {name: open_table(file, origin.cache) for name, file in files.items()}, origin
    columns = replace(origin.columns, text="text", label="label", name="name", multilabel=False)
    return _texts(path), replace(origin, columns=columns)


def _tables(folder: Path, origin: Origin) -> dict[str, Path]:
    """Split -> its table; a folder of one table holds all splits in it."""
    files = [file for file in sorted(folder.iterdir()) if kind(file)]
    if origin.questions is not None:
        files = [file for file in files if file.name != Path(origin.questions).name]
    named = {stem(file): file for file in files if _is_split(stem(file))}
    if not named and len(files) == 1:
        return {"train": files[0]}
    if not named and files:
        names = ", ".join(file.name for file in files[:12])
        raise UserError(f"data.path={folder} holds no train.csv or the like but {names}; name one of these files.")
    return {_split(name, named, str(folder)): file for name, file in named.items()}


def _texts(folder: Path) -> dict[str, Table]:
    """Split -> the text files in the folders of its labels."""
    parts = {part.name: part for part in sorted(folder.iterdir()) if part.is_dir()}
    if parts and all(_is_split(name) for name in parts):
        return {_split(name, parts, str(folder)): _labelled(part) for name, part in parts.items()}
    return {"train": _labelled(folder)}


def _labelled(folder: Path) -> Table:
    files = [
        (file, part.name)
        for part in sorted(folder.iterdir())
        if part.is_dir()
        for file in sorted(part.iterdir())
        if file.name.removesuffix(".gz").endswith(".txt")
    ]
    if not files:
        raise UserError(
            f"{folder} holds neither a table (train{', train'.join(BUILDERS)}, plain or .gz) nor folders of .txt files "
            "named after their label."
        )
    return text_files(files, folder)


def _is_split(name: str) -> bool:
    return name in ("train", *VALIDATION) or name.startswith("test")


def _split(name: str, names: Iterable[str], place: str) -> str:
    """The split that a file's name stands for. Raises UserError where two claim to be the validation split."""
    claims = [other for other in names if other in VALIDATION]
    if name in VALIDATION and len(claims) > 1:
        raise UserError(f"{place} has {' and '.join(claims)}, and only one of them can be the validation split.")
    return "val" if name in VALIDATION else name


def _ordered(splits: dict[str, Documents]) -> dict[str, Documents]:
    return {name: splits[name] for name in ("train", "val", *sorted(splits.keys() - {"train", "val"}))}
