"""Where pairs come from: what is found is what the files say, and a fault is named with its file and line."""

import csv
import gzip
import json
import logging

import datasets
import pytest
from datasets import Dataset, DatasetDict

from manyheads.data import tables
from manyheads.data.pairs import where
from manyheads.data.sources import Origin, read_splits, read_tests
from manyheads.errors import UserError

ODD = [
    'He said "no".',
    "NA",
    "null",
    "None",
    "007",
    "a\u2028b\u2029c\u0085d",
    " two  spaces ",
    "tab\there",
    "emoji 👩‍👩‍👧",
    "a, b; c",
]


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))


def origin(path=None, hub=None, on_bad_row="refuse", **options):
    values = {"source": "en", "target": "de", "pairs": 100, "seed": 1} | options
    return Origin(str(path) if path else None, hub, on_bad_row=on_bad_row, **values)


def write(folder, **files):
    """name__suffix=text or bytes -> name.suffix in the folder."""
    for name, content in files.items():
        data = content if isinstance(content, bytes) else content.encode()
        path = folder / name.replace("__", ".")
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return folder


def lines(texts):
    return "".join(text + "\n" for text in texts)


def folder_of_lines(folder, count=10, **files):
    sides = {suffix: lines(f"{suffix} {row}" for row in range(count)) for suffix in ("en", "de")}
    names = ("train", "val", "test")
    return write(folder, **{f"{name}__{suffix}": text for name in names for suffix, text in sides.items()} | files)


def pairs_of(rows):
    return list(zip(rows["source"], rows["target"], strict=True))


# Line-aligned files


def test_every_test_set_keeps_its_name_and_gz_is_read_as_plain(tmp_path):
    write(tmp_path, train__en__gz="a\nb\n", train__de="x\ny\n", validation__en="c\n", validation__de="z\n")
    write(
        tmp_path, test_2016_flickr__en="d\n", test_2016_flickr__de__gz="w\n", test__en="e", test__de="v", notes__txt="-"
    )
    splits = read_splits(origin(tmp_path))
    assert list(splits) == ["train", "val", "test", "test_2016_flickr"]
    assert all(isinstance(rows, Dataset) for rows in splits.values())
    assert pairs_of(splits["train"]) == [("a", "x"), ("b", "y")]
    assert pairs_of(splits["test_2016_flickr"]) == [("d", "w")]
    assert pairs_of(splits["test"]) == [("e", "v")]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_only_a_newline_ends_a_line_and_nothing_in_it_changes(end, bom, tmp_path):
    text = bom + end.join(ODD).encode()
    folder_of_lines(tmp_path, train__en=text, train__de=text)
    assert pairs_of(read_splits(origin(tmp_path))["train"]) == [(text, text) for text in ODD]


@pytest.mark.parametrize("ending", ["en", "en__gz"])
@pytest.mark.parametrize(
    ("bad", "what"), [(b"", "empty"), (b" \t", "empty"), (b"caf\xe9 x", r"not UTF-8 \(byte 0xe9 at place 4\)")]
)
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_a_broken_line_is_refused_by_its_number(start, bad, what, ending, tmp_path):
    text = start + b"\r\n".join([b"one", b"two", bad, b"four", bad, b"six", b""])
    write(tmp_path, **{f"train__{ending}": text}, train__de=lines("abcdef"))
    with pytest.raises(UserError) as error:
        read_splits(origin(tmp_path))
    name = f"train.{ending.replace('__', '.')}"
    assert error.match(rf"{name}:3: the source is {what} \(the first of 2 such rows\).*data\.on_bad_row=skip")


def test_skipping_keeps_the_rest_and_says_what_was_left_out(tmp_path, caplog):
    folder_of_lines(tmp_path, train__en=b"a\n\nc\n\xff\ne\n", train__de="v\nw\n\ny\nz\n")
    with caplog.at_level(logging.WARNING):
        splits = read_splits(origin(tmp_path, on_bad_row="skip"))
    assert pairs_of(splits["train"]) == [("a", "v"), ("e", "z")]
    assert where(splits["train"], 1, "target").endswith("train.de:5")
    assert "2 of 5 rows kept" in caplog.text
    for place in ("train.en:2", "train.de:3", "train.en:4"):
        assert place in caplog.text


def test_unequal_files_are_refused_even_when_skipping(tmp_path):
    folder_of_lines(tmp_path, test__de="only\n")
    with pytest.raises(UserError, match=r"test\.en has 10 lines and .*test\.de 1: line i of one"):
        read_splits(origin(tmp_path, on_bad_row="skip"))


def test_a_file_without_partner_is_named_with_what_was_looked_for(tmp_path):
    folder_of_lines(tmp_path)
    (tmp_path / "val.de").unlink()
    with pytest.raises(UserError, match=r"val\.en has no partner: val\.de or val\.de\.gz was looked for"):
        read_splits(origin(tmp_path))


def test_a_damaged_gz_is_refused(tmp_path):
    folder_of_lines(tmp_path)
    for content in (b"no gzip", gzip.compress(b"x" * 1000)[:20]):
        (tmp_path / "train.en").unlink(missing_ok=True)
        (tmp_path / "train.en.gz").write_bytes(content)
        with pytest.raises(UserError, match=r"train\.en\.gz is no whole gzip file"):
            read_splits(origin(tmp_path))


def test_what_is_missing_is_said_with_the_path_and_what_was_found(tmp_path):
    with pytest.raises(UserError, match="absent: there is no such file or folder"):
        read_splits(origin(tmp_path / "absent"))
    with pytest.raises(UserError, match=r"train\.en .*looked for; the folder is empty"):
        read_splits(origin(tmp_path))
    write(tmp_path, readme__txt="hello", test__en="a\n", test__de="b\n")
    with pytest.raises(UserError, match=r"found: readme\.txt, test\.de, test\.en"):
        read_splits(origin(tmp_path))
    with pytest.raises(UserError, match=r"readme\.txt is no table"):
        read_splits(origin(tmp_path / "readme.txt"))


def test_two_validation_splits_are_refused(tmp_path):
    folder_of_lines(tmp_path, dev__en="a\n", dev__de="b\n")
    with pytest.raises(UserError, match="has dev and val, and only one"):
        read_splits(origin(tmp_path))


def test_contradicting_options_are_refused(tmp_path):
    for options, match in (
        ({"path": tmp_path, "hub": "a/b"}, "both given"),
        ({"on_bad_row": "ignore"}, "neither refuse nor skip"),
        ({"target": "en"}, "both en"),
    ):
        with pytest.raises(UserError, match=match):
            read_splits(origin(**options))


# Tables


def write_table(path, rows, header=("id", "en", "de")):
    rows = [(str(i), *row) for i, row in enumerate(rows)]
    if path.suffix == ".parquet":
        Dataset.from_dict({name: [row[c] for row in rows] for c, name in enumerate(header)}).to_parquet(path)
        return path
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8", newline="") as file:
        if ".json" in path.name:
            file.writelines(json.dumps(dict(zip(header, row, strict=True)), ensure_ascii=False) + "\n" for row in rows)
        elif ".tsv" in path.name:
            file.writelines("\t".join(row) + "\n" for row in (header, *rows))
        else:
            csv.writer(file).writerows((header, *rows))
    return path


TABLES = ["csv", "csv.gz", "tsv", "tsv.gz", "jsonl", "jsonl.gz", "parquet"]


@pytest.mark.parametrize("suffix", TABLES)
def test_a_folder_of_tables_is_read_text_for_text(suffix, tmp_path):
    texts = [text for text in ODD if "\t" not in text or "tsv" not in suffix]
    for name in ("train", "val", "test", "test_hard"):
        write_table(tmp_path / f"{name}.{suffix}", [(text, text[::-1]) for text in texts])
    splits = read_splits(origin(tmp_path))
    assert list(splits) == ["train", "val", "test", "test_hard"]
    assert pairs_of(splits["test_hard"]) == [(text, text[::-1]) for text in texts]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_missing_column_is_said_with_those_there_are(suffix, tmp_path):
    path = write_table(tmp_path / f"pairs.{suffix}", [("a", "b")])
    with pytest.raises(UserError, match=r"no column for data\.target=fr; it has id, en, de"):
        read_splits(origin(path, target="fr"))


def test_a_broken_row_of_a_csv_is_named_by_its_line(tmp_path):
    """The rows before it span two lines, and one line is blank."""
    write(tmp_path, pairs__csv='en,de\n"two\nlines",x\n\nb,y\nc,\n,z\n')
    with pytest.raises(UserError, match=r"pairs\.csv:6: the target is empty \(the first of 2"):
        read_splits(origin(tmp_path / "pairs.csv"))


def test_a_broken_row_of_jsonl_and_parquet_is_named(tmp_path):
    write(tmp_path, pairs__jsonl='{"en": "a", "de": "b"}\n\n{"en": "c", "de": null}\n')
    with pytest.raises(UserError, match=r"pairs\.jsonl:3: the target is missing \(the only such row\)"):
        read_splits(origin(tmp_path / "pairs.jsonl"))
    path = write_table(tmp_path / "pairs.parquet", [("a", "b"), ("", "c")])
    with pytest.raises(UserError, match=r"pairs\.parquet row 2: the source is empty"):
        read_splits(origin(path))
    path = tmp_path / "numbers.jsonl"
    path.write_text('{"en": 7, "de": "b"}\n')
    with pytest.raises(UserError, match=r"numbers\.jsonl:1: the source is no text but int"):
        read_splits(origin(path))


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_table_that_is_not_utf8_names_the_row(suffix, tmp_path):
    path = write_table(tmp_path / f"pairs.{suffix}", [("a", "b"), ("caf!", "x"), ("c", "d")])
    path.write_bytes(path.read_bytes().replace(b"!", b"\xe9"))
    line = 3 if suffix == "csv" else 2
    with pytest.raises(UserError, match=rf"pairs\.{suffix}:{line}: the source is not UTF-8 \(the only"):
        read_splits(origin(path))


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.csv", "", "is empty"),
        ("a.csv", "en,de\na,b\na,b,c,d\n", "cannot be read as csv: .*line 3"),
        ("a.jsonl", "no json\n", "cannot be read as jsonl"),
        ("a.parquet", "no parquet", "cannot be read as parquet"),
    ],
)
def test_a_file_that_is_no_table_is_said_in_one_sentence(name, content, match, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=match) as error:
        read_splits(origin(tmp_path / name))
    assert "\n" not in str(error.value)


def test_one_file_is_split_by_its_sources_so_that_copies_stay_together(tmp_path):
    path = write_table(tmp_path / "all.csv", [(f"s{n % 800}", f"t{n}") for n in range(2400)])
    splits = read_splits(origin(path))
    sources = {name: set(rows["source"]) for name, rows in splits.items()}
    assert list(splits) == ["train", "val", "test"]
    assert len(set.union(*sources.values())) == sum(map(len, sources.values())) == 800
    assert sum(len(rows) for rows in splits.values()) == 2400
    assert 0.02 < len(splits["val"]) / 2400 < 0.08
    assert pairs_of(splits["val"]) == pairs_of(read_splits(origin(path))["val"])


def test_only_the_missing_split_is_taken_from_train(tmp_path):
    folder_of_lines(tmp_path, count=300)
    for suffix in ("en", "de"):
        (tmp_path / f"val.{suffix}").unlink()
    splits = read_splits(origin(tmp_path))
    assert len(splits["train"]) + len(splits["val"]) == 300
    assert len(splits["test"]) == 300
    for row in range(len(splits["val"])):
        assert where(splits["val"], row).endswith(f"train.en:{int(splits['val'][row]['source'].split()[1]) + 1}")


def test_too_few_rows_for_a_split_is_said(tmp_path):
    path = write_table(tmp_path / "few.csv", [("a", "b")])
    with pytest.raises(UserError, match="leaves no row for"):
        read_splits(origin(path))


# The hub, the embedded corpus, test sets alone


def test_nested_columns_of_a_hub_set_are_found(monkeypatch):
    rows = Dataset.from_dict({"id": ["1"], "translation": [{"en": "a", "de": "b"}]})
    asked = []
    loaded = DatasetDict(train=rows, validation=rows, test=rows)
    monkeypatch.setattr(tables, "load_dataset", lambda *names: asked.append(names) or loaded)
    splits = read_splits(origin(hub="owner/name:de-en"))
    assert asked == [("owner/name", "de-en")]
    assert list(splits) == ["train", "val", "test"]
    assert all(pairs_of(rows) == [("a", "b")] for rows in splits.values())


def test_a_hub_set_that_is_not_there_is_one_sentence(monkeypatch):
    def refuse(*_):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(tables, "load_dataset", refuse)
    with pytest.raises(UserError, match=r"data\.hub=a/b could not be loaded \(no route\)") as error:
        read_splits(origin(hub="a/b"))
    assert "\n" not in str(error.value)


def test_the_embedded_corpus_needs_no_file():
    splits = read_splits(origin(pairs=600))
    assert {"train", "val", "test", "test_compositional"} <= set(splits)
    assert set(pairs_of(splits["train"])).isdisjoint(pairs_of(splits["test"]))


def test_test_sets_alone_are_read_without_training_data(tmp_path):
    write(tmp_path, test_a__en="a\n\n", test_a__de="x\ny\n", test_b__en="c\n", test_b__de="z\n")
    tests = read_tests(str(tmp_path), "en", "de", "skip")
    assert {name: pairs_of(rows) for name, rows in tests.items()} == {"test_a": [("a", "x")], "test_b": [("c", "z")]}
    path = write_table(tmp_path / "mine.csv", [("a", "b")])
    assert pairs_of(read_tests(str(path), "en", "de", "refuse")["mine"]) == [("a", "b")]
    with pytest.raises(UserError, match=r"test_a\.en:2: the source is empty"):
        read_tests(str(tmp_path), "en", "de", "refuse")


def test_a_folder_without_test_sets_says_so(tmp_path):
    write(tmp_path, train__en="a\n", train__de="b\n")
    with pytest.raises(UserError, match=r"holds no test set: test\*\.en .*found: train\.de, train\.en"):
        read_tests(str(tmp_path), "en", "de", "refuse")
