"""The benchmark of attentions: what it counts, what it skips and resumes, and what it writes. Never how fast."""

import json
from dataclasses import asdict, replace

import pytest
import torch

from manyheads.attention.mask import Mask
from manyheads.attention.patterns.bigbird import BigBird
from manyheads.attention.patterns.window import Window
from manyheads.errors import UserError
from manyheads.measure.attention import bench, clock, contestants, memory, plan
from manyheads.measure.attention.asked import Attention
from manyheads.measure.attention.case import Case, Settings, shape_of
from manyheads.measure.attention.duel import duel
from manyheads.measure.attention.error import error
from manyheads.measure.attention.forecast import forecast, skip
from manyheads.measure.attention.peers.registry import all_peers
from manyheads.measure.attention.processes import OUT_OF_TIME, process
from manyheads.measure.attention.store import Store
from manyheads.measure.attention.table import compared, markdown
from manyheads.measure.attention.work import linear_work, pairs, softmax_work
from manyheads.measure.command import measure

SETTINGS = Settings(1, 2, None, 16, 32, 96, "cpu", "here", {})
CASE = Case("time", "sdpa", 512, False, "forward", "float32")


# ---------------------------------------------------------------- work
PATTERNS = [None, Window(5, 1, 0), Window(3, 4, 2), Window(200, 1, 0), BigBird(8, 1, 1, 2, 0), BigBird(16, 0, 1, 1, 7)]


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", [1, 63, 64, 150])
def test_pairs_are_those_of_the_dense_mask(pattern, causal, length):
    mask = Mask(length, length, causal=causal, pattern=pattern)
    seen = mask.dense(3, torch.device("cpu")).expand(2, 3, length, length)
    assert pairs(mask, heads=3, batch=2) == seen.sum()


def test_pairs_of_padded_and_packed_rows():
    lengths, documents = torch.tensor([70, 33]), torch.tensor([[0] * 40 + [1] * 60, [0] * 99 + [1]])
    for mask in (Mask(100, 100, lengths=lengths), Mask(100, 100, causal=True, documents=documents)):
        assert pairs(mask, heads=2, batch=2) == mask.dense(2, torch.device("cpu")).expand(2, 2, 100, 100).sum()


def test_long_windows_are_counted_without_looking_at_every_pair():
    n, w = 1 << 17, 512
    mask = Mask(n, n, causal=True, pattern=Window(w, 1, 0))
    assert pairs(mask, heads=8, batch=1) == 8 * (n * (w + 1) - w * (w + 1) // 2)


def test_operations_and_bytes_of_a_pass():
    forward = shape_of(CASE, SETTINGS)
    both = replace(forward, gradients=True)
    assert softmax_work(forward, 100, 2).flops == 4 * 100 * 16
    assert softmax_work(both, 100, 2).flops == 3.5 * 4 * 100 * 16
    assert linear_work(forward, 16, 2).flops == 2 * 512 * 4 * 16 * 16
    assert softmax_work(forward, 100, 2).bytes == 4 * (2 * 512 * 16 * 4)
    assert softmax_work(both, 100, 1).bytes == (6 + 12) // 3 * 3 * (512 * 16 * 4)


# ---------------------------------------------------------------- contestants
@pytest.mark.parametrize("causal", [False, True])
def test_the_bands_are_the_window_of_the_attention(causal):
    """A window of 32 looks 32 back where causal and 16 to each side elsewhere, for peers and for ours alike."""
    shape = shape_of(Case("time", "", 96, causal, "forward", "float32"), SETTINGS)
    outs = [contestants.build(name, shape) for name in ("sliding_window/reference", "sdpa_band_mask")]
    mine, peers = (built.call(built.prepare()) for built in outs)
    torch.testing.assert_close(mine, peers)
    assert outs[0].work == outs[1].work
    q, k, v = outs[0].leaves
    torch.testing.assert_close(outs[0].definition(q, k, v), peers)


def test_every_peer_answers_whether_it_can_run():
    for name, peer in all_peers().items():
        reason = contestants.why_not(name, shape_of(replace(CASE, contestant=name), SETTINGS))
        assert reason is None or reason.endswith("."), name
        assert peer.build.__module__.startswith("manyheads.measure.attention.peers"), name


def test_a_missing_package_is_told_and_not_raised():
    everything = all_peers()
    gone = replace(everything["local_attention"], package="no-such-package")
    assert "pip install no-such-package" in gone.why_not(shape_of(CASE, SETTINGS))


def test_names_of_peers_and_attentions_differ():
    assert not set(all_peers()) & set(plan.ours.names())


def test_positions_and_kernels_alone_make_no_further_contestant():
    distinct = plan.ours.distinct({"kernel"})
    assert distinct[0] == "dense"
    assert "rope" not in distinct
    assert "gqa" in distinct
    assert "gqa" not in plan.ours.distinct({"kernel", "kv_heads"})


# ---------------------------------------------------------------- plan
def groups(**asked):
    return plan.cases(Attention(**{"lengths": "64,128", "dtype": "float32", "peers": "none", **asked}))


def test_errors_come_first_then_short_sequences_and_the_yardstick_before_all():
    made = groups(attentions="dense", kernels="reference", causal="true")
    assert [(g[0].what, g[0].contestant, g[0].length) for g in made] == [
        ("error", "dense/reference", 1024),
        ("time", "sdpa", 64),
        ("time", "dense/reference", 64),
        ("time", "sdpa", 128),
        ("time", "dense/reference", 128),
    ]
    assert [case.step for case in made[1]] == ["forward", "both"]


def test_duels_put_all_types_beside_each_other():
    asked = Attention(attentions="sliding_window", kernels="sdpa", peers="sdpa", lengths="64", dtype="float32,bfloat16")
    first = plan.duels(replace(asked, duel="true", causal="true", passes="both"))
    names = [("sliding_window/sdpa", "float32"), ("sliding_window/sdpa", "bfloat16"), ("sdpa", "float32")]
    assert [(case.contestant, case.dtype) for case in first[0]] == [*names, ("sdpa", "bfloat16")]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"attentions": "dnse"}, "Did you mean dense"),
        ({"kernels": "sdap"}, "Did you mean sdpa"),
        ({"peers": "local_atention"}, "Did you mean local_attention"),
        ({"lengths": "64,x"}, "whole numbers"),
        ({"lengths": "0,64"}, "no length"),
        ({"passes": "backward"}, "forward, both"),
        ({"dtype": "float64"}, "float32"),
        ({"attentions": "none", "kernels": "all"}, "Nothing is left"),
    ],
)
def test_mistakes_are_told_in_one_sentence(asked, words):
    with pytest.raises(UserError, match=words):
        groups(**asked)


@pytest.mark.parametrize(
    "argument", ["heads=0", "kv_heads=3", "window=-1", "lenghts=64", "dnse.kv_heads=2", "duel=maybe"]
)
def test_the_command_refuses_what_makes_no_sense(argument, tmp_path):
    with pytest.raises(UserError):
        measure(["attention", argument, f"output={tmp_path}"])
    assert not list(tmp_path.iterdir())


def test_each_rule_has_its_own_kernels():
    assert plan.ours.contestants(["linear", "dense"], ["chunked", "sdpa", "any"]) == [
        "linear/chunked",
        "linear/any",
        "dense/sdpa",
        "dense/any",
    ]
    assert plan.ours.contestants(["auto"], ["sdpa"]) == ["auto"]


@pytest.mark.parametrize("name", ["linear/chunked", "performer/chunked", "sigmoid/sdpa", "sigmoid/reference"])
def test_every_rule_has_a_definition_to_be_measured_against(name):
    case = Case("error", name, 96, True, "both", "float32")
    if contestants.why_not(name, shape_of(case, SETTINGS)) is None:
        found = error(name, shape_of(case, SETTINGS))
        assert found["against"] == "definition"
        assert max(found["error_forward"], found["error_gradients"]) < 1e-4


def test_keys_of_a_yaml_are_overridden_by_its_name():
    settings = plan.settings_of(Attention(), ["sliding_window.pattern.width=3", "gqa.kv_heads=1"])
    assert settings.overrides == {"sliding_window": {"pattern": {"width": 3}}, "gqa": {"kv_heads": 1}}
    module = plan.ours.module("sliding_window/sdpa", shape_of(CASE, replace(settings, head_dim=16)))
    assert (module.pattern.width, module.kernel, module.strict) == (3, "sdpa", True)


# ---------------------------------------------------------------- results
def row(case, status="done", **more):
    return {"key": case.key, "status": status, **asdict(case), **more}


def test_finished_cases_are_not_run_again(tmp_path):
    store = Store(tmp_path, SETTINGS)
    for status in ("done", "refused", "failed", "skipped"):
        store.add(row(replace(CASE, contestant=status), status))
    again = Store(tmp_path, SETTINGS)
    assert again.rows == store.rows
    known = {status: again.finished(replace(CASE, contestant=status), retry=False) for status in ("done", "refused")}
    assert all(known.values())
    assert again.finished(replace(CASE, contestant="failed"), retry=False)
    assert not again.finished(replace(CASE, contestant="failed"), retry=True)
    assert not again.finished(replace(CASE, contestant="skipped"), retry=False)


def test_a_line_cut_off_in_writing_is_measured_again(tmp_path):
    store = Store(tmp_path, SETTINGS)
    store.add(row(CASE))
    with store.path.open("a") as file:
        file.write('{"key": "half')
    other = replace(CASE, length=1)
    Store(tmp_path, SETTINGS).add(row(other))
    assert set(Store(tmp_path, SETTINGS).rows) == {CASE.key, other.key}


def test_a_folder_holds_one_kind_of_measurement(tmp_path):
    Store(tmp_path, SETTINGS)
    with pytest.raises(UserError, match=r"heads=2 \(asked: 4\)"):
        Store(tmp_path, replace(SETTINGS, heads=4))


def rows_of(*points):
    found = [row(replace(CASE, length=n), wall=s, extra_mib=m) for n, s, m in points]
    return {one["key"]: one for one in found}


def test_forecasts_follow_the_last_two_lengths():
    assert forecast(CASE, {}).seconds is None
    assert forecast(CASE, rows_of((256, 1.0, 10.0))).seconds == pytest.approx(4.0)
    linear = forecast(CASE, rows_of((128, 1.0, 10.0), (256, 2.0, 40.0)))
    assert (linear.seconds, linear.mib) == (pytest.approx(4.0), pytest.approx(160.0))


def test_what_would_not_fit_is_not_started():
    past = rows_of((256, 10.0, 100.0))
    assert skip(CASE, past, seconds=200, mib=1000) is None
    assert "MiB" in skip(CASE, past, seconds=200, mib=300)
    assert "limit=" in skip(CASE, past, seconds=100, mib=1000)
    failed = replace(CASE, length=256)
    assert "256" in skip(CASE, {failed.key: row(failed, "failed", reason="no")}, 100, 100)


def test_the_table_has_ratios_errors_duels_and_reasons():
    rates = {"flops_cpu": 1e9, "flops_wall": 1e9, "bytes_cpu": 1e9, "bytes_wall": 1e9}
    figures = {"ceiling": rates, "extra_mib": 3.0, "fraction": 0.25}
    other, gone = replace(CASE, contestant="dense/sdpa"), replace(CASE, contestant="dense/flash")
    spread = {"ratio_cpu": [2.5, 2.0, 3.0], "ratio_wall": [2.4, 2.0, 3.0]}
    rows = [
        row(CASE, wall=0.004, cpu=0.004, **figures),
        row(other, wall=0.002, cpu=0.001, **figures),
        row(gone, "refused", reason="needs a GPU."),
        row(replace(other, what="error"), against="definition", error_forward=1e-7, error_gradients=None),
        row(replace(other, what="duel"), wall=1.0, cpu=1.0, rounds=5, **spread),
    ]
    compared(rows)
    about = {"date": "today", "left": 2, "settings": asdict(SETTINGS)}
    text = markdown({**about, "environment": {"versions": {}, "python": "3", "command": "benchmark"}}, rows)
    assert rows[1]["speed"] == {"wall": 2.0, "cpu": 4.0}
    assert "| `dense/sdpa` | 1.0 / 2.0 (4.00×, 25%) |" in text
    assert "| `dense/sdpa` | bidirectional | float32 | definition | 1.0e-07 |  |" in text
    assert "2.50 [2.00, 3.00]" in text
    assert "- `dense/flash` refused (bidirectional; forward; float32; 512): needs a GPU." in text
    assert "2 cases are not measured yet" in text


# ---------------------------------------------------------------- measuring
def test_peak_memory_is_that_of_the_call():
    held = torch.ones(16 << 20, dtype=torch.int8)
    found = memory.extra(lambda: torch.ones(64 << 20, dtype=torch.int8).max().item(), torch.device("cpu"))
    assert 60 < found < 100
    assert memory.extra(lambda: held.max().item(), torch.device("cpu")) < 10


def test_percentiles_take_the_nearest_rank():
    assert [clock.percentile([3.0, 1.0, 2.0], share) for share in (0.1, 0.5, 0.9)] == [1.0, 2.0, 3.0]


def test_a_duel_has_ratios_to_the_first_and_tells_who_cannot():
    names = ("sliding_window/sdpa", "sdpa", "flash2_window")
    cases = [Case("duel", name, 64, True, "both", "float32") for name in names]
    found = {one["key"]: one for one in duel(cases, SETTINGS, rounds=3, seconds=60)}
    assert found[cases[0].key]["ratio_cpu"] == [1.0, 1.0, 1.0]
    assert found[cases[1].key]["against"] == cases[0].key
    assert found[cases[1].key]["ratio_wall"][0] > 0
    assert found[cases[2].key]["status"] == "refused"


def test_a_worker_that_outlasts_its_time_is_ended(tmp_path):
    case = Case("error", "dense/reference", 64, True, "both", "float32")
    order = {"what": "case", "settings": asdict(SETTINGS), "cases": [asdict(case)] * 10_000, "memory": None}
    assert process(order, 2.0, tmp_path / "log", lambda told: None) == OUT_OF_TIME


def test_the_command_from_end_to_end(tmp_path, capsys):
    """Two attentions and a peer; the second call finds everything done."""
    command = [
        "attention", "attentions=dense,sliding_window", "kernels=sdpa", "peers=sdpa_band_mask,flash2_window",
        "lengths=64,128", "passes=both",
        "causal=true", "heads=2", "head_dim=16", "window=32", "error_length=96", f"output={tmp_path}",
    ]  # fmt: skip
    measure(command)
    told = json.loads((tmp_path / "attention.json").read_text())
    assert told["left"] == 0
    done = [one for one in told["rows"] if one["status"] == "done"]
    timed = [one for one in done if one["what"] == "time"]
    assert len(timed) == 2 * (2 + 1 + 1)
    for one in timed:
        assert one["wall"] > 0
        assert one["speed"]["cpu"] > 0
        assert one["fraction"] > 0
        assert one["extra_mib"] >= 0
    errors = [one for one in done if one["what"] == "error"]
    assert len(errors) == 3
    assert all(max(one["error_forward"], one["error_gradients"]) < 1e-5 for one in errors)
    refused = {one["contestant"] for one in told["rows"] if one["status"] == "refused"}
    assert refused == {"flash2_window"}
    assert "runs on cuda alone" in (tmp_path / "attention.md").read_text()
    assert (tmp_path / "attention.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "attention.svg").read_text()
    lines = (tmp_path / "results.jsonl").read_text()
    capsys.readouterr()
    measure(command)
    assert (tmp_path / "results.jsonl").read_text() == lines
    assert "all cases are done." in capsys.readouterr().out


def test_a_slice_without_time_measures_nothing_and_says_what_is_left(tmp_path, capsys):
    asked = Attention(attentions="none", peers="sdpa", lengths="64", causal="true", seconds=0.001, output=tmp_path)
    bench.bench(asked, [])
    assert "3 cases are left" in capsys.readouterr().out
    assert not (tmp_path / "attention.png").exists()
