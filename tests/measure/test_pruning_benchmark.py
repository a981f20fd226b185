"""Quality against sparsity: which cells there are, how they run and go on, and what is gathered of them."""

import json
import sys
from pathlib import Path

import pytest
from made_runs import HALF, configure, made, scored

from manyheads.config import places
from manyheads.errors import UserError
from manyheads.load import load_run
from manyheads.measure.command import measure
from manyheads.measure.pruned import runs
from manyheads.measure.pruned.asked import Pruning, shares
from manyheads.measure.pruned.benchmark import benchmark
from manyheads.measure.pruned.cells import Cell, budget, command, plain, plan, refuse_own
from manyheads.measure.pruned.conclusions import missing, sentences
from manyheads.measure.pruned.curves import curves
from manyheads.measure.pruned.gather import gather, measured

SIZES = {"whole": 1000, "prunable": 800, "embedding": 150, "bytes": 4000, "flops_per_token": 500.0}


def asked(tmp_path, **keys):
    return Pruning(**{"run": tmp_path / "base", "folder": tmp_path / "cells", "metric": "test/bleu", **keys})


def counts(folder: Path):
    """What a name such as l0-0.5 stands for: that share of all that can be pruned is gone."""
    gone = 0 if folder.name == "base" else round(800 * float(folder.name.rpartition("-")[2]))
    return {
        **SIZES,
        "whole": 1000 - gone,
        "prunable": 800 - gone,
        "bytes": 4000 - 4 * gone,
        "flops_per_token": 500.0 - gone / 4,
    }


# ---------------------------------------------------------------- plan
def test_the_control_comes_once_and_targets_one_after_the_other(tmp_path):
    cells = plan(asked(tmp_path, methods="l0,magnitude", targets="0.9,0,0.5"))
    assert [cell.name for cell in cells] == [
        "control-0",
        *(f"{method}-0.5" for method in ("l0", "magnitude", "one_shot", "dense")),
        *(f"{method}-0.9" for method in ("l0", "magnitude", "one_shot", "dense")),
    ]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"methods": "magnitud"}, "Did you mean magnitude"),
        ({"baselines": "tense"}, "Did you mean dense"),
        ({"methods": "l0"}, "add magnitude to methods"),
        ({"targets": "0.5,1"}, "are no shares"),
        ({"targets": "half"}, "are no shares"),
    ],
)
def test_mistakes_are_told_in_one_sentence(keys, words, tmp_path):
    with pytest.raises(UserError, match=words):
        plan(asked(tmp_path, **keys))


def test_shares_are_sorted_and_come_once():
    assert shares("targets", "0.9,0.5,0.50") == [0.5, 0.9]


# ---------------------------------------------------------------- commands
def test_a_pruning_is_a_command_of_prune_py(tmp_path):
    cell = Cell("l0", 0.7, tmp_path / "cells" / "l0-0.7")
    told = command(cell, asked(tmp_path), ["length=0.5"])
    own = [f"run={tmp_path / 'base'}", "pruning=l0", "pruning.target=0.7", "length=0.5"]
    assert told == ["scripts/prune.py", *own, f"hydra.run.dir={tmp_path / 'cells' / 'l0-0.7'}"]
    control = command(Cell("control", 0.0, tmp_path / "control-0"), asked(tmp_path), [])
    assert control[2:4] == ["pruning=magnitude", "pruning.target=0"]
    assert plain("a b") == "'a b'"


def test_a_dense_model_is_trained_for_as_many_steps_as_both_and_told_where_but_not_how(tmp_path):
    scored(tmp_path / "base", steps=100)
    (tmp_path / "base" / "overrides.yaml").write_text("- model.dim=16\n- trainer.max_epochs=7\n- trainer=cpu\n")
    configure(tmp_path / "base", data={"path": "/data/x"}, ckpt_path=None, prunes=None)
    cell = Cell("dense", 0.5, tmp_path / "cells" / "dense-0.5")
    with pytest.raises(UserError, match=r"magnitude-0\.5 has not finished"):
        command(cell, asked(tmp_path), [])
    other = scored(tmp_path / "cells" / "magnitude-0.5", steps=30)
    (other / "checkpoints").mkdir()
    (other / "checkpoints" / "arch.json").write_text("{}")
    told = command(cell, asked(tmp_path), ["pruning.least=0", "length=1", "trainer.max_epochs=1", "trainer.devices=2"])
    assert told == [
        "train.py", "model.dim=16", "trainer=cpu", "data.path=/data/x", "trainer.devices=2",
        f"arch={other / 'checkpoints' / 'arch.json'}", "trainer.max_steps=130", "trainer.max_epochs=-1",
        "trainer.max_time=null", f"hydra.run.dir={cell.folder}",
    ]  # fmt: skip
    assert budget(tmp_path / "base", other) == 130
    configure(tmp_path / "base", prunes="/elsewhere")
    with pytest.raises(UserError, match="leave dense out of baselines"):
        command(cell, asked(tmp_path), [])


# ---------------------------------------------------------------- runs
@pytest.fixture
def scripts(tmp_path, monkeypatch):
    """Scripts that only write down that they were called, and end as `ends` says."""
    script = """
import json, pathlib, sys
here = pathlib.Path(__file__).parents[1] if "scripts" in __file__ else pathlib.Path(__file__).parent
with (here / "calls").open("a") as calls:
    calls.write(json.dumps([pathlib.Path(__file__).name, *sys.argv[1:]]) + "\\n")
sys.exit((here / "ends").read_text())
"""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "prune.py").write_text(script)
    (tmp_path / "train.py").write_text(script)
    (tmp_path / "ends").write_text("error: No such thing.")
    monkeypatch.setattr(runs, "conf_folder", lambda: tmp_path / "conf")
    return lambda: [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]


def test_a_pruning_that_never_began_says_why_and_is_tried_again(tmp_path, scripts):
    cell, told = Cell("l0", 0.5, tmp_path / "l0-0.5"), ["scripts/prune.py", "run=x", f"hydra.run.dir={tmp_path}/l0-0.5"]
    runs.run(cell, told, retry=False)
    assert scripts() == [["prune.py", "run=x", f"hydra.run.dir='{cell.folder}'", "hydra.mode=RUN"]]
    assert runs.note(cell) == {"command": told, "reason": "No such thing."}
    runs.refuse_other(cell, ["scripts/prune.py", "run=y"])
    runs.run(cell, told, retry=False)
    assert len(scripts()) == 2


def test_a_run_that_was_cut_off_goes_on_and_one_that_finished_is_left_alone(tmp_path, scripts):
    cell = Cell("l0", 0.5, scored(tmp_path / "l0-0.5", status="running"))
    configure(cell.folder, seed=1)
    runs.run(cell, ["scripts/prune.py"], retry=False)
    assert scripts() == [["train.py", f"resume='{cell.folder}'", "hydra.mode=RUN"]]
    assert json.loads((cell.folder / "metrics.json").read_text())["status"] == "failed"
    runs.run(cell, ["scripts/prune.py"], retry=False)
    assert len(scripts()) == 1
    runs.run(cell, ["scripts/prune.py"], retry=True)
    assert len(scripts()) == 2
    scored(cell.folder)
    runs.run(cell, ["scripts/prune.py"], retry=True)
    assert len(scripts()) == 2


def test_a_run_of_another_command_is_refused(tmp_path):
    cell = Cell("l0", 0.5, scored(tmp_path / "l0-0.5"))
    configure(cell.folder, seed=1)
    with pytest.raises(UserError, match=r"was begun by hand, not by `a b`: name another folder, or remove"):
        runs.refuse_other(cell, ["a", "b"])
    (cell.folder / "cell.json").write_text(json.dumps({"command": ["a", "c"]}))
    with pytest.raises(UserError, match=r"was begun by `a c`, not by `a b`"):
        runs.refuse_other(cell, ["a", "b"])
    runs.refuse_other(cell, ["a", "c"])


# ---------------------------------------------------------------- gather
@pytest.fixture
def cells(tmp_path, monkeypatch):
    """A base of BLEU 40, a control of 41, L0 and magnitude at two targets; what can go wrong, at 0.9."""
    monkeypatch.chdir(tmp_path)
    scored(tmp_path / "base", bleu=40.0, threshold=0.5)
    for name, bleu in (("control-0", 41.0), ("l0-0.5", 40.4), ("l0-0.7", 39.4), ("magnitude-0.5", 38.0)):
        scored(tmp_path / "cells" / name, bleu=bleu)
        (tmp_path / "cells" / name / "cell.json").write_text(json.dumps({"command": ["scripts/prune.py", name]}))
    scored(tmp_path / "cells" / "magnitude-0.7", chrf=50.0)
    scored(tmp_path / "cells" / "l0-0.9", status="failed", reason="Too little is left.")
    scored(tmp_path / "cells" / "magnitude-0.9", status="running")
    return plan(asked(tmp_path, methods="l0,magnitude", targets="0,0.5,0.7,0.9", baselines="none"))


def test_rows_hold_what_is_gone_and_what_it_cost(cells, tmp_path):
    rows = {
        (row["method"], row["target"]): row for row in gather(tmp_path / "base", cells, "test/bleu", counts)["rows"]
    }
    row = rows["l0", 0.7]
    assert row["reached"] == {
        "prunable": pytest.approx(0.7),
        "whole": pytest.approx(0.56),
        "flops": pytest.approx(0.28),
    }
    assert row["file"] == pytest.approx(0.44)
    assert row["loss"] == pytest.approx(0.6 / 40)
    assert row["loss_to_control"] == pytest.approx(1.6 / 41)
    assert row["command"] == "python scripts/prune.py l0-0.7"
    assert row["folder"] == "cells/l0-0.7"
    assert rows["control", 0.0]["loss"] == pytest.approx(-0.025)


def test_rows_without_numbers_say_why(cells, tmp_path):
    def broken(folder):
        if folder.name == "l0-0.5":
            raise UserError("best.ckpt is not there.")
        return counts(folder)

    cells = [*cells, Cell("random", 0.5, tmp_path / "cells" / "random-0.5")]
    found = gather(tmp_path / "base", cells, "test/bleu", broken)
    assert {(row["method"], row["target"]): row["why"] for row in found["rows"] if row["why"]} == {
        ("l0", 0.5): "best.ckpt is not there.",
        ("magnitude", 0.7): "test/bleu was not measured.",
        ("l0", 0.9): "It failed: Too little is left.",
        ("magnitude", 0.9): "It was cut off.",
        ("random", 0.5): "It has not been run.",
    }
    assert "L0 at 90% is not in this: It failed: Too little is left." in list(missing(found))


def test_errors_count_the_other_way(cells, tmp_path):
    for name, mse in (("base", 0.5), ("cells/control-0", 0.4), ("cells/l0-0.5", 0.6)):
        scored(tmp_path / name, mse=mse)
    found = gather(tmp_path / "base", cells[:2], "test/mse", counts)
    assert found["rows"][1]["loss"] == pytest.approx(0.2)
    assert found["rows"][1]["loss_to_control"] == pytest.approx(0.5)


def test_a_metric_that_the_base_lacks_is_told_with_those_that_it_has(cells, tmp_path):
    with pytest.raises(UserError, match=r"test/mse was not measured by .*; it has test/bleu, test/threshold"):
        measured(tmp_path / "base", "test/mse")


def test_sentences_are_made_of_the_numbers(cells, tmp_path):
    found = gather(tmp_path / "base", cells, "test/bleu", counts)
    told = sentences(found, 0.02)
    assert told[0] == "Recovery training alone, with nothing pruned, is 2.5% better in test/bleu than the base."
    assert (
        "70% (70.0% reached): L0 is 1.5% worse in test/bleu, within the bar of 2% "
        "(than recovery training alone: 3.9% worse)." in told
    )
    assert "At 50% L0 is best, 6.0 points of relative loss ahead of magnitude." in told
    assert (
        "L0 is within the bar of 2% with 70.0% of the prunable parameters gone, 56.0% of the whole model and 28.0% of "
        "its FLOPs." in told
    )
    assert "Magnitude is beyond the bar of 2% at every target." in told
    found["base"]["quality"] = 0.0
    assert sentences(found, 0.02) == ["The base has test/bleu = 0, of which nothing can be lost or gained."]


def test_the_figure_has_a_line_for_each_method_the_base_the_control_and_the_bar(cells, tmp_path):
    found = gather(tmp_path / "base", cells, "test/bleu", counts)
    axes = curves(found, 0.02).axes[0]
    lines = {line.get_label(): line.get_xydata().tolist() for line in axes.get_lines()}
    assert lines["L0"] == [[0.0, 41.0], [0.5, 40.4], [pytest.approx(0.7), 39.4]]
    assert set(lines) == {"L0", "magnitude", "base, unpruned", "recovery training alone", "bar: 2% worse"}
    assert lines["bar: 2% worse"][0][1] == pytest.approx(39.2)


# ---------------------------------------------------------------- all of it
def test_what_is_there_is_gathered_without_training(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = made(tmp_path / "base", "timeseries", "encoder_only", mse=0.5)
    half = made(tmp_path / "cells" / "magnitude-0.5", "timeseries", "encoder_only", left=HALF, mse=0.52)
    monkeypatch.setattr(sys, "argv", ["benchmark.py"])
    measure([
        "pruning", f"run={base}", "folder=cells", "metric=test/mse", "methods=magnitude,l0", "targets=0,0.5",
        "baselines=none", "train=false", "output=out/found.json",
    ])  # fmt: skip
    found = json.loads((tmp_path / "out" / "found.json").read_text())
    models = [load_run(folder).model for folder in (base, half)]
    numbers = [sum(p.numel() for p in model.parameters()) for model in models]
    row = next(row for row in found["rows"] if row["method"] == "magnitude")
    assert row["reached"]["whole"] == pytest.approx(1 - numbers[1] / numbers[0])
    assert row["loss"] == pytest.approx(0.04)
    assert 0 < row["reached"]["flops"] < 1
    assert "| L0 |" not in (tmp_path / "out" / "found.md").read_text()
    told = capsys.readouterr().out
    assert "L0 at 50% is not in this: It has not been run." in told
    assert (tmp_path / "out" / "found.png").read_bytes().startswith(b"\x89PNG")
    assert "magnitude is 4.0% worse in test/mse, beyond the bar of 2%" in told


def test_a_metric_without_a_direction_is_refused_before_anything_runs(tmp_path):
    configure(scored(tmp_path / "base", threshold=0.5), seed=1)
    with pytest.raises(UserError, match="more of it is better or less"):
        benchmark(asked(tmp_path, metric="test/threshold"), [])


def test_scripts_are_where_the_configuration_says():
    assert (places.conf_folder().parent / "scripts" / "prune.py").is_file()


@pytest.mark.parametrize("override", ["pruning.target=0.2", "pruning=l0", "hydra.run.dir=there"])
def test_what_each_pruning_has_its_own_of_is_not_handed_on(override):
    refuse_own(["length=0.5", "pruning.base=flops"])
    with pytest.raises(UserError, match="every pruning has its own"):
        refuse_own(["length=0.5", override])
