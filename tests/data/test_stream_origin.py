"""Files, tables and the hub as splits of documents, and what is said where they cannot be."""

import gzip
import json
import types

import huggingface_hub
import pytest
from datasets import IterableDataset

from manyheads.data.stream import files, rows
from manyheads.data.stream.files import TextFile, between, line_ends
from manyheads.data.stream.origin import Origin, read_splits, read_tests
from manyheads.data.stream.source import Faults
from manyheads.errors import UserError


def origin(path=None, **changes):
    values = {"hub": None, "text": "text", "separator": None, "on_bad_row": "refuse", "stories": 40, "seed": 1}
    return Origin(None if path is None else str(path), **values | changes)


def texts(documents, on_bad_row="refuse"):
    return ["".join(blocks) for blocks in documents.read(Faults(on_bad_row))]


def splits(path=None, **changes):
    return {name: texts(documents) for name, documents in read_splits(origin(path, **changes)).items()}


def put(folder, **content):
    for name, text in content.items():
        (folder / name.replace("__", "/")).parent.mkdir(exist_ok=True)
        (folder / f"{name.replace('__', '/')}.txt").write_text(text, newline="")
    return folder


def test_a_folder_names_its_splits(tmp_path):
    put(tmp_path, train="t", train_2="u", valid="v", test="x", test_b="y", notes="no", training_notes="u2")
    put(tmp_path, test_far__one="far 1", test_far__two="far 2")
    found = splits(tmp_path)
    wanted = {"train": ["t", "u", "u2"], "val": ["v"], "test": ["x"], "test_b": ["y"], "test_far": ["far 1", "far 2"]}
    assert found == wanted
    assert list(found)[:2] == ["train", "val"]


def test_words_that_only_begin_like_a_split_are_texts(tmp_path):
    put(tmp_path, testament="a b\n" * 50, trainspotting="c d\n" * 50, valley="e f\n" * 50)
    assert set(splits(tmp_path)) == {"train", "val", "test"}


def test_tests_without_training_text_are_refused(tmp_path):
    put(tmp_path, test="x", val="v")
    with pytest.raises(UserError, match=r"holds no training text: train\* was looked for; found: test, val"):
        splits(tmp_path)


def test_few_whole_files_give_their_ends_and_nothing_is_lost(tmp_path):
    content = {f"book{b}": "".join(f"book {b} line {n}\n" for n in range(100)) for b in range(3)}
    found = splits(put(tmp_path, **content))
    assert [len(part) for part in found.values()] == [3, 3, 3]
    for b in range(3):
        parts = [found[name][b] for name in ("train", "val", "test")]
        assert "".join(parts) == content[f"book{b}"]
        assert all(part.endswith("\n") for part in parts)
        assert len(parts[0]) == pytest.approx(0.9 * len(content[f"book{b}"]), abs=20)


def test_many_whole_files_are_split_by_their_content(tmp_path):
    content = {f"f{n}": f"text number {n}" for n in range(300)} | {"copy": "text number 7"}
    found = splits(put(tmp_path, **content))
    assert sorted(text for part in found.values() for text in part) == sorted(content.values())
    assert all(5 < len(found[name]) < 30 for name in ("val", "test"))
    assert sum("text number 7" in part for part in found.values()) == 1


def test_paragraphs_are_split_by_their_content(tmp_path):
    told = [f"paragraph {n}\nline two" for n in range(400)]
    (tmp_path / "book.txt").write_text("\n\n".join([*told, told[3], "", " \n"]))
    found = splits(tmp_path / "book.txt", separator="\n\n")
    assert sorted(text for part in found.values() for text in part) == sorted([*told, told[3]])
    assert all(8 < len(found[name]) < 35 for name in ("val", "test"))
    sides = [set(part) for part in found.values()]
    assert not sides[0] & sides[1]
    assert not sides[1] & sides[2]
    assert not sides[0] & sides[2]
    order = [told.index(text) for text in found["train"] if text != told[3]]
    assert order == sorted(order)


@pytest.mark.parametrize("block", [1, 2, 3, 1000])
def test_blocks_change_nothing(block, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "BLOCK", block)
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffé one\r\ntwo\r\n\r\nthree\n\n\n\nfour".encode())
    assert list(files.blocks(path, 0, 100))
    assert "".join(files.blocks(path, 0, 100)) == "é one\ntwo\n\nthree\n\n\n\nfour"
    assert list(between(files.blocks(path, 0, 100), "\n\n")) == ["é one\ntwo", "three", "four"]
    assert "".join(files.blocks(path, 3, 8)) == "ne\ntw"
    assert TextFile(path, None).survey.size == len("é one\ntwo\n\nthree\n\n\n\nfour")
    assert line_ends(path, [2, 7])[0] in (2, 6)
    assert files.survey(path).digest == files.survey(path).digest


def test_gz_and_plain_are_the_same_documents(tmp_path):
    (tmp_path / "a.txt").write_text("hello\n" * 40)
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"hello\n" * 40))
    plain, packed = (TextFile(tmp_path / name, None) for name in ("a.txt", "b.txt.gz"))
    assert plain.digest == packed.digest
    assert plain.digest != TextFile(tmp_path / "a.txt", "\n\n").digest


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("train.txt", b"caf\xe9", r"train\.txt is not UTF-8 \(byte 0xe9\); mend it"),
        ("train.txt", b" \n", r"train\.txt holds no text; mend it"),
        ("train.txt.gz", gzip.compress(b"abc" * 1000)[:-9], r"train\.txt\.gz is no whole gzip file"),
    ],
    ids=["encoding", "empty", "cut"],
)
def test_files_that_cannot_be_read_are_named(name, content, said, tmp_path):
    put(tmp_path, train_b="fine\n" * 30)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said):
        splits(tmp_path)


def test_broken_files_can_be_left_out(tmp_path):
    put(tmp_path, train_b="fine\n" * 30, val="v", test="t")
    (tmp_path / "train.txt").write_bytes(b"caf\xe9")
    faults = Faults("skip")
    train = read_splits(origin(tmp_path, on_bad_row="skip"))["train"]
    assert ["".join(blocks) for blocks in train.read(faults)] == ["fine\n" * 30]
    assert faults.count == 1


def table(path, values):
    if ".csv" in path.name:
        content = "id,text\n" + "".join(f'7,"{value}"\n' for value in values)
    else:
        content = "".join(json.dumps({"id": 7, "text": value}) + "\n" for value in values)
    path.write_bytes(gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode())
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.jsonl", "a.jsonl.gz"])
def test_tables_are_streamed_and_their_texts_left_as_they_are(name, tmp_path):
    values = ["NA", "007", "two\nlines", "é, quoted", *(f"row {n}" for n in range(200))]
    found = splits(table(tmp_path / name, values))
    assert sorted(text for part in found.values() for text in part) == sorted(values)
    assert list(found) == ["train", "val", "test"]


def test_parquet_is_read(tmp_path):
    import pyarrow
    import pyarrow.parquet

    values = [f"row {n}" for n in range(100)]
    for name in ("train", "val", "test_x"):
        pyarrow.parquet.write_table(pyarrow.table({"body": values}), tmp_path / f"{name}.parquet")
    assert splits(tmp_path, text="body") == {"train": values, "val": values, "test_x": values}


def test_rows_that_are_no_text_are_named_or_left_out(tmp_path):
    path = table(tmp_path / "train.jsonl", ["a", None, "b", " "])
    table(tmp_path / "val.jsonl", ["v"])
    table(tmp_path / "test.jsonl", ["t"])
    with pytest.raises(UserError, match=r"train\.jsonl row 2: the text is missing; mend it"):
        splits(tmp_path)
    assert texts(read_splits(origin(tmp_path))["train"], "skip") == ["a", "b"]
    path.write_bytes(b'{"text": "caf\xe9"}\n')
    with pytest.raises(UserError, match=r"train\.jsonl row 1: the text is not UTF-8"):
        splits(tmp_path)


def test_a_replacement_character_of_the_text_is_no_fault(tmp_path):
    for name in ("train", "val", "test"):
        table(tmp_path / f"{name}.jsonl", ["a \ufffd b"])
    assert splits(tmp_path)["train"] == ["a \ufffd b"]


def test_a_missing_column_is_named_with_those_that_there_are(tmp_path):
    table(tmp_path / "a.csv", ["x"])
    with pytest.raises(UserError, match=r"a\.csv has no column for data\.text=body; it has id, text"):
        splits(tmp_path / "a.csv", text="body")


def test_the_hub_is_streamed_at_one_commit(monkeypatch):
    asked = []

    def load(name, configuration, revision, streaming):
        asked.append((name, configuration, revision, streaming))
        made = {"train": [f"t{n}" for n in range(100)], "validation": ["v"], "test": ["x"]}
        return {
            split: IterableDataset.from_generator(
                lambda texts: ({"text": text} for text in texts), gen_kwargs={"texts": texts}
            )._resolve_features()
            for split, texts in made.items()
        }

    commit = types.SimpleNamespace(sha="abc")
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: types.SimpleNamespace(dataset_info=lambda name: commit))
    monkeypatch.setattr(rows, "load_dataset", load)
    found = splits(hub="owner/name:small")
    assert {name: len(part) for name, part in found.items()} == {"train": 100, "val": 1, "test": 1}
    assert set(asked) == {("owner/name", "small", "abc", True)}


def test_a_hub_out_of_reach_is_one_sentence(monkeypatch):
    def fail(name):
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: types.SimpleNamespace(dataset_info=fail))
    with pytest.raises(UserError, match=r"data\.hub=owner/name could not be loaded \(no route\)"):
        splits(hub="owner/name")


def test_tests_alone(tmp_path):
    put(tmp_path, train="no", test_a="a", test_b="b")
    wanted = {"test_a": ["a"], "test_b": ["b"]}
    assert {name: texts(found) for name, found in read_tests(str(tmp_path), origin("x")).items()} == wanted
    [(name, found)] = read_tests(str(tmp_path / "train.txt"), origin("x")).items()
    assert (name, texts(found)) == ("test", ["no"])


@pytest.mark.parametrize(
    ("path", "changes", "said"),
    [
        ("x", {"hub": "y"}, "both given"),
        ("x", {"on_bad_row": "keep"}, "neither refuse nor skip"),
        ("x", {"separator": ""}, r"data\.separator is empty"),
        ("/nowhere", {}, "there is no such file or folder"),
        (None, {"stories": 3}, r"data\.stories=3"),
    ],
)
def test_mistakes_are_sentences(path, changes, said):
    with pytest.raises(UserError, match=said):
        splits(path, **changes)


def test_folders_and_files_without_text_are_refused(tmp_path):
    with pytest.raises(UserError, match="holds no text"):
        splits(tmp_path)
    (tmp_path / "a.pdf").write_text("x")
    with pytest.raises(UserError, match=r"a\.pdf is neither text nor table"):
        splits(tmp_path / "a.pdf")
