"""Where documents come from: every form of the same rows gives the same documents, and a fault has its place."""

import gzip
import json
from pathlib import Path

import datasets
import pytest
from datasets import Dataset, DatasetDict

from manyheads.data.documents import sources
from manyheads.data.documents import table as tables
from manyheads.data.documents.documents import Columns
from manyheads.data.documents.sources import Notes, Origin, read_splits, read_tests
from manyheads.errors import UserError

ROWS = [
    {"note": f'Note {number}, "quoted",\nNA – ünï {number % 7}', "kind": "ab"[number % 2], "who": f"p{number // 3}"}
    for number in range(60)
]
NAMES = {"text": "note", "label": "kind", "question": (), "split": None, "group": None, "name": None, "key": None}


@pytest.fixture(autouse=True)
def quiet(monkeypatch, tmp_path_factory):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))


@pytest.fixture
def origin(tmp_path_factory):
    cache = str(tmp_path_factory.mktemp("cache"))

    def make(path=None, hub=None, questions=None, on_bad_row="refuse", **names):
        columns = Columns(**NAMES | {"separator": "|", "multilabel": False} | names)
        notes = Notes(40, 1, 200, (0.4, 0.9), 0.0)
        return Origin(None if path is None else str(path), hub, questions, columns, on_bad_row, cache, notes)

    return make


def write(path: Path, rows=ROWS) -> Path:
    frame = Dataset.from_list(rows)
    suffix = Path(path.name.removesuffix(".gz")).suffix
    plain = path.with_name(path.name.removesuffix(".gz"))
    if suffix == ".jsonl":
        plain.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    elif suffix == ".parquet":
        frame.to_parquet(plain)
    elif suffix == ".tsv":
        lines = ["\t".join(rows[0]), *("\t".join(str(value) for value in row.values()) for row in rows)]
        plain.write_text("\n".join(lines) + "\n", encoding="utf-8")
    else:
        frame.to_csv(plain)
    if path != plain:
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    return path


def plain(documents):
    return sorted((documents.text(n), documents.labels[n]) for n in range(len(documents)))


def all_of(splits):
    return sorted(row for documents in splits.values() for row in plain(documents))


WANTED = sorted((row["note"], (row["kind"],)) for row in ROWS)


@pytest.mark.parametrize("name", ["d.csv", "d.csv.gz", "d.jsonl", "d.jsonl.gz", "d.parquet"])
def test_one_table_in_any_form(name, tmp_path, origin):
    splits = read_splits(origin(write(tmp_path / name)))
    assert list(splits) == ["train", "val", "test"]
    assert all_of(splits) == WANTED
    again = read_splits(origin(tmp_path))  # the folder of the one table
    assert {name: plain(of) for name, of in again.items()} == {name: plain(of) for name, of in splits.items()}


def test_a_tsv_keeps_quotation_marks(tmp_path, origin):
    rows = [row | {"note": row["note"].replace("\n", " ")} for row in ROWS]
    assert all_of(read_splits(origin(write(tmp_path / "d.tsv", rows)))) == sorted(
        (row["note"], (row["kind"],)) for row in rows
    )


def test_a_folder_of_splits(tmp_path, origin):
    for name, part in (("train", ROWS[:40]), ("valid", ROWS[40:46]), ("test", ROWS[46:50]), ("test_b", ROWS[50:])):
        write(tmp_path / f"{name}.csv", part)
    splits = read_splits(origin(tmp_path))
    assert {name: len(of) for name, of in splits.items()} == {"train": 40, "val": 6, "test": 4, "test_b": 10}
    assert splits["test"].where(1).startswith(f"{tmp_path}/test.csv:")
    assert splits["test"].names[1] == "test.csv row 2"
    (tmp_path / "valid.csv").unlink()
    splits = read_splits(origin(tmp_path))
    assert len(splits["val"]) + len(splits["train"]) == 40
    write(tmp_path / "val.csv")
    write(tmp_path / "dev.csv")
    with pytest.raises(UserError, match="only one of them can be the validation split"):
        read_splits(origin(tmp_path))


def text_folder(folder, rows):
    for number, row in enumerate(rows):
        path = folder / row["kind"] / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(row["note"], encoding="utf-8")


def test_a_folder_of_text_files_is_labelled_by_its_folders(tmp_path, origin):
    text_folder(tmp_path / "all", ROWS)
    splits = read_splits(origin(tmp_path / "all", text="unused"))
    assert all_of(splits) == WANTED
    assert splits["train"].names[0].startswith("a/")
    for name, part in (("train", ROWS[:40]), ("val", ROWS[40:50]), ("test", ROWS[50:])):
        text_folder(tmp_path / "split" / name, part)
    splits = read_splits(origin(tmp_path / "split"))
    assert {name: len(of) for name, of in splits.items()} == {"train": 40, "val": 10, "test": 10}
    (tmp_path / "split/train/a/0.txt").write_bytes(b"caf\xe9")
    with pytest.raises(UserError, match=r"train/a/0\.txt: the text is not UTF-8"):
        read_splits(origin(tmp_path / "split"))
    assert len(read_splits(origin(tmp_path / "split", on_bad_row="skip"))["train"]) == 39


def test_the_hub(monkeypatch, origin):
    found = DatasetDict({"train": Dataset.from_list(ROWS[:40]), "validation": Dataset.from_list(ROWS[40:])})
    monkeypatch.setattr(tables, "load_dataset", lambda name, configuration, cache_dir: found)
    splits = read_splits(origin(hub="a/b:c"))
    assert list(splits) == ["train", "val", "test"]
    assert all_of(splits) == WANTED
    assert splits["val"].where(0) == "a/b:c (validation) row 1"
    monkeypatch.setattr(tables, "load_dataset", lambda *_, **__: 1 / 0)
    with pytest.raises(UserError, match=r"data\.hub=a/b could not be loaded \(division by zero\)"):
        read_splits(origin(hub="a/b"))


def test_labels_in_lists_in_cells_and_as_numbers(tmp_path, origin):
    rows = [{"note": f"n {n}", "kind": value} for n, value in enumerate([["b", "a"], ["c"], [], ["a", "a"]] * 9)]
    splits = read_splits(origin(write(tmp_path / "l.jsonl", rows), multilabel=True))
    assert {labels for of in splits.values() for labels in of.labels} == {("a", "b"), ("c",), (), ("a",)}
    rows = [{"note": f"n {n}", "kind": value} for n, value in enumerate(["b; a", " c ", "a"] * 9)]
    path = write(tmp_path / "l.csv", rows)
    splits = read_splits(origin(path, multilabel=True, separator=";"))
    assert {labels for of in splits.values() for labels in of.labels} == {("a", "b"), ("c",), ("a",)}
    splits = read_splits(origin(path))
    assert {labels for of in splits.values() for labels in of.labels} == {("b; a",), ("c",), ("a",)}
    rows = [{"note": f"n {n}", "kind": n % 3} for n in range(30)]
    for name in ("n.jsonl", "n.csv"):
        splits = read_splits(origin(write(tmp_path / name, rows)))
        assert {labels for of in splits.values() for labels in of.labels} == {("0",), ("1",), ("2",)}


def joined(folder):
    reports = [{"id": f"r{n}", "note": f"report {n}", "side": "train" if n < 6 else "val"} for n in range(8)]
    asked = [
        {"id": f"r{n % 8}", "what": f"w{n}", "of": "o" if n % 3 else "", "kind": "ab"[n % 2], "number": n}
        for n in range(24)
    ]
    write(folder / "documents.jsonl.gz", reports)
    write(folder / "prompts.csv.gz", asked)
    return folder


def test_questions_about_documents_of_another_table(tmp_path, origin):
    folder = joined(tmp_path)
    names = {"key": "id", "question": ("what", "of"), "name": "number", "split": "side"}
    splits = read_splits(origin(folder, questions="prompts.csv.gz", **names))
    documents = splits["val"]
    assert [documents.text(n) for n in range(len(documents))] == ["report 6", "report 7"] * 3
    assert documents.questions[:3] == ["w6 | ", "w7 | o", "w14 | o"]
    assert documents.names[:3] == ["6", "7", "14"]
    assert documents.labels[:3] == [("a",), ("b",), ("a",)]
    assert len(documents.texts) == 8  # each text is there once, whatever is asked about it
    assert documents.where(1) == f"{folder}/prompts.csv.gz:9"
    one = origin(folder / "documents.jsonl.gz", questions=str(folder / "prompts.csv.gz"), **names)
    assert {name: plain(of) for name, of in read_splits(one).items()} == {n: plain(of) for n, of in splits.items()}


def test_a_question_about_no_document(tmp_path, origin):
    folder = joined(tmp_path)
    with (folder / "more.csv").open("w") as file:
        file.write("id,what,of,kind\nr1,x,y,a\nr99,x,y,b\n")
    names = {"key": "id", "question": ("what", "of"), "on_bad_row": "refuse"}
    with pytest.raises(UserError, match=r"more\.csv:3: id=r99 is in no row of .*documents\.jsonl\.gz \(the only"):
        read_splits(origin(folder / "documents.jsonl.gz", questions="more.csv", **names))
    write(folder / "documents.jsonl.gz", [{"id": "r1", "note": "x"}, {"id": "r1", "note": "y"}])
    with pytest.raises(UserError, match=r"documents\.jsonl\.gz:2: id=r1 is there twice"):
        read_splits(origin(folder / "documents.jsonl.gz", questions="more.csv", **names))
    with pytest.raises(UserError, match=r"data\.questions names the file .* one of them is missing"):
        read_splits(origin(folder / "documents.jsonl.gz", questions="more.csv"))
    with pytest.raises(UserError, match=r"data\.questions=none\.csv: there is no such table"):
        read_splits(origin(folder / "documents.jsonl.gz", questions="none.csv", key="id"))


def test_splits_by_a_column_and_by_group(tmp_path, origin):
    rows = [row | {"part": ["train", "dev", "test_x"][n % 3]} for n, row in enumerate(ROWS)]
    splits = read_splits(origin(write(tmp_path / "d.csv", rows), split="part"))
    assert {name: len(of) for name, of in splits.items()} == {"train": 20, "val": 20, "test_x": 20}
    rows[4]["part"] = "holdout"
    with pytest.raises(UserError, match=r"d\.csv:\d+: the split is 'holdout'; train, val"):
        read_splits(origin(write(tmp_path / "d.csv", rows), split="part"))
    splits = read_splits(origin(write(tmp_path / "e.csv"), group="who"))
    sides = [set(of.groups) for of in splits.values()]
    assert sum(map(len, sides)) == len(set().union(*sides)) == 20


BAD = {
    "an empty document": ({"note": "  "}, "the text is empty"),
    "a text missing": ({"note": None}, "the text is missing"),
    "a label missing": ({"kind": None}, "it has no label in column kind"),
    "a label empty": ({"kind": " "}, "it has no label in column kind"),
    "two labels": ({"kind": ["a", "b"]}, r"it has 2 labels in column kind \(data\.multilabel=true takes any number\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_broken_row_is_named_or_left_out(case, tmp_path, origin, caplog):
    change, words = BAD[case]
    rows = [dict(row) for row in ROWS]
    if isinstance(change.get("kind"), list):
        rows = [row | {"kind": [row["kind"]]} for row in rows]
    rows[4] |= change
    path = write(tmp_path / "d.jsonl", rows)
    with pytest.raises(UserError, match=rf"d\.jsonl:5: {words} \(the only such row\); mend it, or leave"):
        read_splits(origin(path))
    splits = read_splits(origin(path, on_bad_row="skip"))
    assert sum(map(len, splits.values())) == 59
    assert "59 of 60 rows kept" in caplog.text


def test_mixed_encodings_are_named_by_line(tmp_path, origin):
    path = tmp_path / "d.csv"
    path.write_bytes(b"note,kind\nfine,a\n\xe9tat,b\n" + "".join(f"état {n},a\n" for n in range(30)).encode())
    with pytest.raises(UserError, match=r"d\.csv:3: the text is not UTF-8"):
        read_splits(origin(path))


def test_files_that_are_not_what_they_should_be(tmp_path, origin):
    with pytest.raises(UserError, match=r"d\.csv has no column for data\.text=text; it has note, kind, who"):
        read_splits(origin(write(tmp_path / "d.csv"), text="text"))
    with pytest.raises(UserError, match=r"d\.csv has no column for data\.group=patient; it has"):
        read_splits(origin(tmp_path / "d.csv", group="patient"))
    with pytest.raises(UserError, match="there is no such file or folder"):
        read_splits(origin(tmp_path / "gone"))
    (tmp_path / "d.txt").write_text("x")
    with pytest.raises(UserError, match=r"d\.txt is no table"):
        read_splits(origin(tmp_path / "d.txt"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds neither a table .* nor folders of \.txt files"):
        read_splits(origin(tmp_path / "empty"))
    with pytest.raises(UserError, match="are both given"):
        read_splits(origin(tmp_path, hub="a/b"))
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"note,kind\n" * 99)[:-9])
    with pytest.raises(UserError, match=r"cut\.csv\.gz is no whole gzip file"):
        read_splits(origin(tmp_path / "cut.csv.gz"))
    (tmp_path / "broken.jsonl").write_text('{"note": "x", "kind": "a"}\n{"note": \n')
    with pytest.raises(UserError, match=r"broken\.jsonl:2 is no JSON \(Expecting value.*each line has to hold one row"):
        read_splits(origin(tmp_path / "broken.jsonl"))
    (tmp_path / "broken.jsonl").write_text('{"note": "x", "kind": "a"}\n[1]\n')
    with pytest.raises(UserError, match=r"broken\.jsonl:2 is no row with named values"):
        read_splits(origin(tmp_path / "broken.jsonl"))
    (tmp_path / "header.csv").write_text("note,kind\n")
    with pytest.raises(UserError, match=r"header\.csv has no rows\."):
        read_splits(origin(tmp_path / "header.csv"))
    (tmp_path / "wide.csv").write_bytes("note,kind\nx,a\n".encode("utf-16"))
    with pytest.raises(UserError, match=r"wide\.csv is UTF-16; save it as UTF-8\."):
        read_splits(origin(tmp_path / "wide.csv"))
    write(tmp_path / "two.csv")
    with pytest.raises(UserError, match=r"name one of these files"):
        read_splits(origin(tmp_path))


def test_a_document_longer_than_csv_allows(tmp_path, origin):
    rows = [dict(row) for row in ROWS]
    rows[3]["note"] = "long " * 240_000
    rows[5]["note"] = ""
    with pytest.raises(UserError, match=r"d\.csv:11: the text is empty"):
        read_splits(origin(write(tmp_path / "d.csv", rows)))


def test_test_sets_alone(tmp_path, origin):
    write(tmp_path / "other.csv", ROWS[:5])
    assert {name: len(of) for name, of in read_tests(origin(tmp_path / "other.csv")).items()} == {"other": 5}
    assert list(read_tests(origin(tmp_path, split="gone"))) == ["test"]
    write(tmp_path / "test_b.csv", ROWS[:5])
    write(tmp_path / "test_c.csv", ROWS[:5])
    write(tmp_path / "train.csv", ROWS[:5])
    assert list(read_tests(origin(tmp_path))) == ["test_b", "test_c"]
    assert list(read_tests(origin(tmp_path / "train.csv"))) == ["test"]


def test_the_embedded_notes(monkeypatch, origin):
    import manyheads.data.synthetic.notes as embedded

    asked = []

    def fake(*arguments):
        asked.append(arguments)
        rows = [{"text": f"note {n}", "label": "ab"[n % 2], "name": f"n{n}"} for n in range(4)]
        return {"test": rows, "train": rows, "val": rows}

    monkeypatch.setattr(embedded, "notes", fake)
    splits = read_splits(origin())
    assert asked == [(40, 1, 200, (0.4, 0.9), 0.0)]
    assert list(splits) == ["train", "val", "test"]
    assert splits["val"].names == ["n0", "n1", "n2", "n3"]
    assert sources.EMBEDDED.text == "text"
