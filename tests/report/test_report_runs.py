"""Reports of planted folders: what is found, what is compared with what, and what is said of the rest."""

import csv
import io
import json
import re

import pytest
from planted import run, sweep

from manyheads.errors import UserError
from manyheads.report import csv_file, markdown, report
from manyheads.report.content import gather
from manyheads.report.runs import find

SCORES = {"dense": [0.90, 0.94, 0.98], "sliding_window": [0.92, 0.93, 0.94], "linear": [0.6, 0.5, 0.7]}
SPEEDS = {"dense": 1000, "sliding_window": 2000, "linear": 4000}


@pytest.fixture
def swept(tmp_path):
    return sweep(tmp_path / "sweep", SCORES, SPEEDS)


def only(content):
    assert len(content.parts) == 1
    return content.parts[0].section


def test_a_sweep_comes_to_the_cheapest_within_one_standard_error(swept):
    content = gather([swept])
    section, words = only(content), content.parts[0].words
    assert section.metric == "test/accuracy"
    assert not section.less
    assert list(section.quality) == ["dense", "sliding_window", "linear"]
    assert section.choice.taken == "sliding_window"
    assert section.means["dense"] == pytest.approx(0.94)
    assert section.baseline == ("tfidf", 0.5)
    assert section.front == ["linear", "sliding_window", "dense"]
    assert words.take.startswith("Take sliding_window: it costs least")
    assert "27 resamples of the 3 seeds" in words.sure
    assert "no p below 0.25" in words.surer


def test_time_to_the_level_that_all_reach(swept):
    section = only(gather([swept]))
    assert section.level == pytest.approx(0.5)
    # Half a second a step; validations at steps 10, 20 and 30 come to 50, 90 and 100 % of what the run reaches.
    assert section.seconds_to_level("linear") == pytest.approx([10, 15, 10])
    assert section.seconds_to_level("dense") == pytest.approx([10, 10, 10])


def test_time_to_a_level_that_was_asked_for_counts_who_reached_it(swept):
    section = only(gather([swept], level=0.65))
    assert section.level == 0.65
    assert section.seconds_to_level("linear") == pytest.approx([15])  # of 0.6, 0.5 and 0.7
    assert section.seconds_to_level("dense") == pytest.approx([10, 10, 10])
    page = markdown.page(gather([swept], level=0.65))
    assert "seconds to 0.650" in page
    assert "15.0 (1 of 3)" in page
    assert "as asked for by level=" in page


def test_who_learns_nothing_does_not_set_the_level(tmp_path):
    sweep(tmp_path, {"dense": [0.9, 0.94], "linear": [0.45, 0.4]}, {"dense": 1000, "linear": 2000})
    section = only(gather([tmp_path]))
    assert section.beaten == ["linear"]
    assert section.level == pytest.approx(0.9)
    assert section.seconds_to_level("linear") == []
    assert "that beat the baseline reached" in markdown.page(gather([tmp_path]))


def test_files_that_were_edited_between_runs_are_other_data(tmp_path):
    data = {"data": {"path": "/notes.csv"}}
    run(tmp_path / "0", "dense", config=data, data_contents="aaa")
    run(tmp_path / "1", "linear", config=data, data_contents="bbb")
    run(tmp_path / "2", "linear", config=data, status="failed", reason="It broke.", score=None)
    parts = gather([tmp_path]).parts
    assert [part.section.title for part in parts] == [
        "clinical_long · /notes.csv · contents=aaa", "clinical_long · /notes.csv · contents=bbb"
    ]  # fmt: skip
    assert [len(part.section.runs) for part in parts] == [2, 1]


def test_pairs_and_their_tests(swept):
    section = only(gather([swept]))
    pairs = {(c.one, c.other): c for c in section.comparisons}
    assert list(pairs) == [("dense", "sliding_window"), ("dense", "linear"), ("sliding_window", "linear")]
    clear = pairs["dense", "linear"]
    assert clear.difference == pytest.approx(0.34)
    assert clear.seeds == 3
    assert clear.p == pytest.approx(0.75)  # 0.25, three times
    assert clear.examples == 0
    assert clear.p_examples is None


def test_predictions_are_compared_document_by_document(tmp_path):
    right, wrong = ["a"] * 40, ["b"] * 40
    run(tmp_path / "0", "dense", labels=right + right, score=1.0)
    run(tmp_path / "1", "linear", labels=right + wrong, score=0.5, speed=9000)
    content = gather([tmp_path])
    (found,) = only(content).comparisons
    assert (found.examples, found.difference_of_examples) == (80, 0.5)
    assert found.p_examples < 0.001
    assert found.p is None
    assert only(content).unit == "examples"
    assert only(content).choice.taken == "dense"
    assert "One seed each" in content.parts[0].words.warnings[-1]


def test_what_did_not_finish_is_listed_and_not_counted(tmp_path):
    run(tmp_path / "0", "dense", 1)
    run(tmp_path / "1", "dense", 2, score=0.1, status="failed", reason="the loss is NaN at step 7")
    run(tmp_path / "2", "dense", 3, status="running")
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "metrics.json").write_text('{"status": "fin')
    (tmp_path / "4").mkdir()
    (tmp_path / "4" / "metrics.json").write_text("[1, 2]")
    (tmp_path / "5").mkdir()
    (tmp_path / "5" / "output.log").write_text("hello\nerror: data.path is no file\nbye\n")
    content = gather([tmp_path])
    reasons = {one.name: one.reason for one in content.runs if not one.finished}
    assert reasons["1"] == "the loss is NaN at step 7"
    assert "killed" in reasons["2"]
    assert "damaged" in reasons["3"]
    assert reasons["4"] == "metrics.json is not that of a run"
    assert reasons["5"].endswith("error: data.path is no file")
    assert [one.name for one in content.unreadable] == ["3", "4", "5"]
    assert all(f"{reason[:20]}" in markdown.page(content) for reason in reasons.values())
    assert only(content).means == {"dense": pytest.approx(0.9)}
    assert "dense 1 of 3" in " ".join(content.parts[0].words.warnings)


def test_no_run_finished(tmp_path):
    run(tmp_path / "0", status="failed", reason="no", score=None)
    page, content = report([tmp_path])
    assert page.exists()
    assert "nothing to choose from" in content.parts[0].words.take


@pytest.mark.parametrize(
    "change",
    [
        {"test": {}, "val": {}, "train": {}, "cost": {}, "baseline": {}},
        {"cost": None, "train": None, "baseline": None},
        {"test": {"accuracy": None}},
        {"test": None, "seed": None},
        {"cost": {"tokens_per_second": 0, "train_seconds": 0}},
        {"cost": {"tokens_per_second": None, "device": 5}, "baseline": {"test/x/accuracy": None}},
        {"data": None, "model": None},
        {"test": {"accuracy": "0.9"}},
    ],
)
def test_a_strange_run_breaks_no_report(tmp_path, change):
    run(tmp_path / "0", "dense")
    run(tmp_path / "1", "linear", curve=[0.1, float("nan"), 0.3], **change)
    page, _ = report([tmp_path])
    assert "dense" in page.read_text()


def test_broken_companions_break_no_report(tmp_path):
    for number, name in enumerate(("config.yaml", "overrides.yaml", "environment.json", "predictions.jsonl")):
        run(tmp_path / str(number), "dense", seed=number, labels=["a"], curve=[0.5, 0.6])
        (tmp_path / str(number) / name).write_bytes(b"\xff{")
    events = next((tmp_path / "0" / "tensorboard").iterdir())
    events.write_bytes(events.read_bytes()[:-20])
    report([tmp_path])


def test_other_data_are_never_compared(tmp_path):
    run(tmp_path / "0", "dense", score=0.9)
    run(tmp_path / "1", "linear", score=0.8, config={"data": {"path": None, "length": 200}})
    content = gather([tmp_path])
    assert [part.section.title for part in content.parts] == [
        "clinical_long · embedded · length=100",
        "clinical_long · embedded · length=200",
    ]
    assert all(len(part.section.quality) == 1 for part in content.parts)


def test_how_documents_are_read_leaves_the_data_as_they_are(tmp_path):
    for number, read in enumerate(("whole", "chunked")):
        data = {"path": None, "length": 100, "read": read, "seed": 1}
        run(tmp_path / str(number), "dense", overrides=(f"data.read={read}",), config={"data": data})
    assert list(only(gather([tmp_path])).quality) == ["dense read=whole", "dense read=chunked"]


def test_groups_differ_by_what_was_typed_and_not_by_seed(tmp_path):
    for number, (lr, seed) in enumerate([(0.1, 1), (0.1, 2), (0.2, 1)]):
        run(tmp_path / str(number), "dense", seed, overrides=(f"optimizer.lr={lr}",), config={"optimizer": {"lr": lr}})
    groups = only(gather([tmp_path])).groups
    assert [(group.label, len(group.runs)) for group in groups] == [("dense lr=0.1", 2), ("dense lr=0.2", 1)]


def test_a_default_that_was_typed_is_the_default(tmp_path):
    run(tmp_path / "0", "dense", 1, overrides=("optimizer.lr=0.1",), config={"optimizer": {"lr": 0.1}})
    run(tmp_path / "1", "dense", 2, config={"optimizer": {"lr": 0.1}})
    assert [group.label for group in only(gather([tmp_path])).groups] == ["dense"]


def test_keys_that_an_old_run_lacks_make_no_difference(tmp_path):
    run(tmp_path / "0", "dense", 1)
    run(tmp_path / "1", "dense", 2, config={"brand_new": True})
    assert len(only(gather([tmp_path])).groups) == 1


def test_only_seeds_that_all_have_are_compared(tmp_path):
    """A sweep that was cut off: one lucky seed is not better than the mean of three."""
    for seed, (dense, linear) in enumerate([(0.2, 0.8), (0.3, 0.8), (0.95, 0.96)], start=1):
        run(tmp_path / f"linear{seed}", "linear", seed, linear)
        if seed == 3:
            run(tmp_path / "dense", "dense", seed, dense)
    section, words = only(gather([tmp_path])), gather([tmp_path]).parts[0].words
    assert section.choice.taken == "linear"
    assert section.choice.error is None
    assert "(dense 3 and linear 1, 2, 3): the choice is made over 3" in " ".join(words.warnings)
    assert "its standard error is unknown" in words.take


def test_examples_that_rank_otherwise_do_not_choose(tmp_path):
    for attention, score, labels in (("dense", 0.9, ["a", "b", "b", "b"]), ("linear", 0.8, ["a"] * 4)):
        run(tmp_path / attention, attention, 1, score, labels=labels)
    section = only(gather([tmp_path]))
    assert not section.by_examples
    assert section.choice.best == "dense"


def test_a_machine_that_did_other_work_is_compared_by_arithmetic(tmp_path):
    for seed, speed in ((1, 1000.0), (2, 2500.0)):
        cost = {"tokens_per_second": speed, "flops_per_token": 1e6, "device": "a machine"}
        run(tmp_path / str(seed), "dense", seed, cost=cost)
    content = gather([tmp_path])
    assert only(content).cost == "flops_per_token"
    assert "arithmetic is compared and not time" in content.parts[0].words.warnings[0]


def test_runs_that_were_pruned_from_a_run_stand_beside_it(tmp_path):
    run(tmp_path / "base", "dense", config={"pruning": None})
    run(tmp_path / "base" / "pruned" / "now", "dense", config=pruning("Taylor", 0.7))
    assert len(only(gather([tmp_path / "base"])).groups) == 2


def test_words_of_other_lengths_are_other_tests(tmp_path):
    for longest in (20, 40):
        config = {"data": {"longest": longest, "seed": 1}}
        run(tmp_path / str(longest), "dense", data="formal_language", config=config)
    assert len(gather([tmp_path]).parts) == 2


def pruning(method, target, **keys):
    return {"pruning": {"_target_": "Pruner", "target": target, "method": {"_target_": f"methods.{method}", **keys}}}


def test_what_is_set_around_no_other_run_tells_groups_apart(tmp_path):
    """A whole model has no keys of pruning, and a method none of another one's: nobody is older for that."""
    made = [pruning("L0", 0.7, alpha=2), pruning("L0", 0.7, alpha=3), pruning("Taylor", 0.7), pruning("Taylor", 0.9)]
    for number, config in enumerate([{"pruning": None}, *made]):
        run(tmp_path / str(number), "dense", config=config, overrides=("pruning.target=…",))
    run(tmp_path / "5", "dense", 2, config=pruning("Taylor", 0.9, brand_new=1))
    groups = [(group.label, len(group.runs)) for group in only(gather([tmp_path])).groups]
    assert sorted(groups) == [
        ("dense", 1),
        ("dense target=0.7 method=L0 alpha=2", 1),
        ("dense target=0.7 method=L0 alpha=3", 1),
        ("dense target=0.7 method=Taylor", 1),
        ("dense target=0.9", 2),
    ]


def test_several_machines_are_compared_by_arithmetic(tmp_path):
    for number, (attention, flops) in enumerate([("dense", 9e6), ("linear", 1e6)]):
        run(tmp_path / str(number), attention, cost={"device": attention, "flops_per_token": flops})
    content = gather([tmp_path])
    assert only(content).cost == "flops_per_token"
    assert "different machines" in content.parts[0].words.warnings[0]


def test_speeds_that_differ_between_seeds_are_a_warning(tmp_path):
    for number, (seed, speed) in enumerate([(1, 1000.0), (2, 2500.0)]):
        run(tmp_path / str(number), "dense", seed, speed=speed)
    run(tmp_path / "2", "linear", 1, speed=1000.0)
    warnings = " ".join(gather([tmp_path]).parts[0].words.warnings)
    assert "differ by up to 2.5 times between seeds" in warnings
    assert "cost=flops_per_token" in warnings


def test_none_beats_the_baseline(tmp_path):
    run(tmp_path / "0", "dense", score=0.3)
    run(tmp_path / "1", "linear", score=0.9)
    warnings = " ".join(gather([tmp_path]).parts[0].words.warnings)
    assert "dense did not do better than the baseline tfidf (0.500)" in warnings


def test_metric_and_cost_can_be_chosen(swept):
    section = only(gather([swept], "test/loss", "parameters"))
    assert section.less
    assert section.cost == "parameters"
    assert section.choice.best == "dense"
    with pytest.raises(UserError, match=r"metric=test/bleu was measured by no run here. Known: .*test/accuracy"):
        gather([swept], "test/bleu")


def test_folders_that_hold_nothing(tmp_path):
    with pytest.raises(UserError, match="is no folder"):
        find([tmp_path / "missing"])
    with pytest.raises(UserError, match="holds no run"):
        find([tmp_path])


def test_runs_are_found_once_and_in_order(tmp_path):
    for number in (0, 2, 10):
        run(tmp_path / str(number))
    run(tmp_path / "0" / "evaluations" / "later")
    assert [one.name for one in find([tmp_path, tmp_path / "2"])] == ["0", "2", "10"]
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "again").symlink_to(tmp_path / "2")
    assert [one.name for one in find([tmp_path / "linked"])] == ["again"]


def test_csv_says_again_what_the_runs_said(swept):
    content = gather([swept])
    rows = list(csv.DictReader(io.StringIO(csv_file.page(content))))
    assert len(rows) == 9
    for row, one in zip(rows, content.runs, strict=True):
        found = json.loads((one.folder / "metrics.json").read_text())
        assert float(row["test/accuracy"]) == found["test"]["accuracy"]
        assert float(row["cost/tokens_per_second"]) == found["cost"]["tokens_per_second"]
        assert row["group"] == found["attention"]
        assert row["command"].startswith("python train.py attention=")


def test_markdown_keeps_its_tables_whole(tmp_path):
    run(tmp_path / "0", "a|b_c*<i>")
    text = markdown.page(gather([tmp_path]))
    rows = [re.sub(r"\\\|", "", line) for line in text.splitlines() if line.startswith("|")]
    assert r"a\|b\_c\*\<i>" in text
    blocks = re.findall(r"(?:^\|.*\n)+", "\n".join(rows) + "\n", re.M)
    assert blocks


def test_report_is_written_whole_where_it_is_wanted(swept, tmp_path):
    page, _ = report([swept], tmp_path / "there")
    assert sorted(path.name for path in page.parent.iterdir()) == ["report.csv", "report.html", "report.md"]
    again, _ = report([swept])
    assert again.parent == swept
    assert again.read_text() == page.read_text()
