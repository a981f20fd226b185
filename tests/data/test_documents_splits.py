"""One patient, or one repeated note, is never on both sides; labels are those of training."""

import hashlib

import numpy as np
import pytest

from manyheads.data.documents.documents import Columns, gather
from manyheads.data.documents.labels import Labelling, merge, report_repeats, targets
from manyheads.data.documents.splits import check_filled, keep_apart, share_out
from manyheads.data.documents.table import table_of
from manyheads.errors import UserError

COLUMNS = Columns("text", "label", (), None, "group", None, None, "", True)


def documents(rows, file="d.csv"):
    """rows: (text, labels, group)."""
    named = [{"text": text, "label": labels, "group": group} for text, labels, group in rows]
    return gather(table_of(named, file), COLUMNS, "refuse")


def texts(of):
    return [of.text(n) for n in range(len(of))]


def plain(number, group=None, labels=("a",)):
    return f"note {number}", list(labels), group


def test_the_hash_is_sha256_of_the_text_modulo_ten():
    splits = share_out({"train": documents([plain(n) for n in range(200)])}, "d.csv")
    for name, remainders in (("test", {0}), ("val", {1}), ("train", set(range(2, 10)))):
        assert {int(hashlib.sha256(t.encode()).hexdigest(), 16) % 10 for t in texts(splits[name])} == remainders
    assert sum(map(len, splits.values())) == 200


def test_a_group_decides_for_all_its_documents_and_nobody_else_does():
    rows = [plain(n, f"p{n // 4}") for n in range(200)]
    splits = share_out({"train": documents(rows)}, "d.csv")
    for name, remainders in (("test", {0}), ("val", {1})):
        assert {int(hashlib.sha256(g.encode()).hexdigest(), 16) % 10 for g in splits[name].groups} == remainders
    fewer = share_out({"train": documents(rows[::3])}, "d.csv")
    assert set(texts(fewer["test"])) == set(texts(splits["test"])) & {text for text, _, _ in rows[::3]}


def test_what_files_give_stays_and_only_what_is_missing_is_taken():
    given = {
        "train": documents([plain(n) for n in range(100)]),
        "test_x": documents([plain(n) for n in range(100, 120)]),
    }
    splits = share_out(given, "d")
    assert list(splits) == ["train", "val", "test_x"]
    assert len(splits["test_x"]) == 20
    assert len(splits["train"]) + len(splits["val"]) == 100
    with pytest.raises(UserError, match="holds no training documents, only test"):
        share_out({"test": given["test_x"]}, "d")


def crossing():
    return {
        "train": documents([plain(1), plain(2, "p"), plain(3), plain(4, "q")], "train.csv"),
        "val": documents([plain(3), plain(5)], "val.csv"),
        "test": documents([plain(6, "p"), plain(5), plain(4)], "test.csv"),
    }


def test_what_a_later_split_holds_is_dropped_and_said(caplog):
    kept = keep_apart(crossing(), "drop")
    assert {name: texts(of) for name, of in kept.items()} == {
        "train": ["note 1"],
        "val": ["note 3"],
        "test": ["note 6", "note 5", "note 4"],
    }
    said = [record.message for record in caplog.records]
    assert len(said) == 4
    assert said[0].startswith(
        "1 of 4 documents of train have a text that val has too, such as train.csv row 3 and val.csv row 1; they are"
    )
    assert any("1 of 2 documents of train have a group that test has too" in line for line in said)


def test_test_sets_may_share_documents_and_both_keep_them(caplog):
    splits = {
        "train": documents([plain(1), plain(2), plain(9, "p")], "train.csv"),
        "val": documents([plain(3)], "val.csv"),
        "test_a": documents([plain(2), plain(4), plain(5, "p")], "test_a.csv"),
        "test_b": documents([plain(4), plain(6, "p")], "test_b.csv"),
    }
    kept = keep_apart(splits, "drop")
    assert {name: len(of) for name, of in kept.items()} == {"train": 1, "val": 1, "test_a": 3, "test_b": 2}
    assert all("of train" in record.message for record in caplog.records)
    assert keep_apart({**splits, "train": documents([plain(1)])}, "refuse")


def test_an_empty_split_is_explained_by_the_groups():
    for groups, words in ((1, "1 group"), (2, "2 groups")):
        rows = [plain(n, f"p{n % groups}") for n in range(30)]
        splits = share_out({"train": documents(rows)}, "d.csv")
        words = f"None of the 30 documents is left for .*: they are of {words} \\(data.group=group\\), and one is never"
        with pytest.raises(UserError, match=words) as caught:
            check_filled(splits, keep_apart(splits, "drop"), "group")
        assert "\n" not in str(caught.value)


def test_so_is_one_that_lost_all_to_another_of_its_group():
    splits = {
        "train": documents([plain(n, "p") for n in range(3)], "train.csv"),
        "val": documents([plain(7)], "val.csv"),
        "test": documents([plain(8, "p")], "test.csv"),
    }
    with pytest.raises(UserError, match="None of the 5 documents is left for train: they are of 1 group "):
        check_filled(splits, keep_apart(splits, "drop"), "group")
    check_filled(splits, keep_apart(splits, "keep"), "group")


def test_without_groups_more_documents_are_asked_for():
    splits = {"train": documents([plain(1)]), "val": documents([plain(2)]).take([]), "test": documents([plain(3)])}
    with pytest.raises(UserError, match="None of the 2 documents is left for val; bring more of them, or a file for"):
        check_filled(splits, splits, None)


def test_or_kept_or_refused(caplog):
    assert [len(of) for of in keep_apart(crossing(), "keep").values()] == [4, 2, 3]
    assert "scores on val are too good" in caplog.text
    with pytest.raises(UserError, match=r"train\.csv row 3 and val\.csv row 1; mend it, or leave them out of train"):
        keep_apart(crossing(), "refuse")


def test_splits_without_copies_are_left_alone(caplog):
    splits = share_out({"train": documents([plain(n % 60) for n in range(200)])}, "d.csv")
    assert keep_apart(splits, "refuse") == splits
    assert not caplog.records


def test_rows_of_the_same_text_become_one_document_with_all_labels():
    merged = merge(documents([plain(1, labels="b"), plain(2), plain(1, labels="ca"), plain(1, labels="b")]))
    assert texts(merged) == ["note 1", "note 2"]
    assert merged.labels == [("a", "b", "c"), ("a",)]
    assert merged.where(0) == "d.csv row 1"


def test_repeats_and_contradictions_are_reported(caplog):
    report_repeats("train", documents([plain(1), plain(2), plain(1, labels="b"), plain(2)]))
    assert "train: 2 of 4 documents repeat an earlier text, 1 of them with another label" in caplog.text
    assert "d.csv row 1 and d.csv row 3; data.multilabel=true" in caplog.text


def labelling(multilabel=True, most_frequent=None, unlabelled="drop", on_bad_row="refuse"):
    return Labelling("label", multilabel, most_frequent, unlabelled, on_bad_row)


def test_the_most_frequent_labels_are_those_of_most_training_documents():
    train = documents([plain(n, labels=labels) for n, labels in enumerate(["ab", "a", "bc", "b", "cd", "d", "e"])])
    assert labelling().choose(train) == ("a", "b", "c", "d", "e")
    assert labelling(most_frequent=2).choose(train) == ("a", "b")
    assert labelling(most_frequent=3).choose(train) == ("a", "b", "c")
    with pytest.raises(UserError, match=r"The 7 training documents have too few labels to tell apart \(b\); data"):
        labelling(most_frequent=1).choose(train)


def measured(count, times=1):
    """`count` documents, each `times` of which have one value of a continuous measure."""
    return documents([plain(n, labels=[str(0.1 + n // times / 7)]) for n in range(count)])


def test_a_column_of_measures_is_no_column_of_classes():
    words = r"data\.label=label names no column of classes: the 40 training documents have 40 different values"
    with pytest.raises(UserError, match=words) as caught:
        labelling(multilabel=False).choose(measured(40))
    assert "\n" not in str(caught.value)
    assert len(labelling(multilabel=False).choose(measured(20))) == 20  # few documents may have classes of their own
    assert len(labelling(multilabel=False).choose(measured(50, times=2))) == 25
    with pytest.raises(UserError, match="no column of classes"):
        labelling(multilabel=False).choose(measured(51, times=2).take([*range(0, 51, 2), *range(1, 25)]))


def test_many_labels_for_each_document_are_classes():
    """Codes of diagnoses: more of them than documents, and each of several documents."""
    train = documents([plain(n, labels=[str((7 * n + k) % 60) for k in range(9)]) for n in range(40)])
    assert len(labelling().choose(train)) == 60
    rare = documents([plain(n, labels=["a", f"own {n}"] if n % 2 else ["a", "b"]) for n in range(40)])
    assert labelling(most_frequent=2).choose(rare) == ("a", "b")  # a long tail is not asked for


def test_numbers_are_in_their_order():
    train = documents([plain(n, labels=[label]) for n, label in enumerate(["10", "9", "x", "-1", "2.5"])])
    assert labelling().choose(train) == ("-1", "2.5", "9", "10", "x")


def test_documents_without_the_labels_are_dropped_or_kept():
    of = documents([plain(1, labels="ab"), plain(2, labels="z"), plain(3, labels=""), plain(4, labels="b")])
    kept = labelling(most_frequent=2).settle("val", of, ("a", "b"))
    assert texts(kept) == ["note 1", "note 4"]
    assert targets(kept, ("a", "b"), True).tolist() == [[1, 1], [0, 1]]
    kept = labelling(most_frequent=2, unlabelled="keep").settle("val", of, ("a", "b"))
    assert targets(kept, ("a", "b"), True).tolist() == [[1, 1], [0, 0], [0, 0], [0, 1]]
    with pytest.raises(UserError, match="No document is left for val"):
        labelling(most_frequent=2).settle("val", of, ("q", "r"))
    with pytest.raises(UserError, match=r"data\.unlabelled=keep is for data\.multilabel=true"):
        labelling(multilabel=False, unlabelled="keep").check()


def test_a_label_unseen_in_training_is_named_or_its_document_left_out(caplog):
    of = documents([plain(1, labels="a"), plain(2, labels="z"), plain(4, labels="b")])
    with pytest.raises(UserError, match=r"d\.csv row 2: the label z was never seen in training \(the only such row\)"):
        labelling().settle("test", of, ("a", "b"))
    assert texts(labelling(on_bad_row="skip").settle("test", of, ("a", "b"))) == ["note 1", "note 4"]


def test_targets_of_single_labels_are_classes():
    of = documents([plain(1, labels="b"), plain(2, labels="a")])
    found = targets(of, ("a", "b"), False)
    assert (found.tolist(), found.dtype) == ([1, 0], np.int64)
