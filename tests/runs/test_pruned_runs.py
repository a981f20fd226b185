"""Runs that prune: what they leave, and everything that can be done with it."""

import json
import shutil
import signal

import command
import pytest
import torch
from test_resumed_runs import reached, start_and_stop

from manyheads import load_run
from manyheads.pruning.sites import sites

PRUNED = ("pruning=magnitude", "pruning.target=0.5", "pruning.schedule.every=2", "model.heads=4")


def ok(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def checkpoint(folder, name="best"):
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)


@pytest.fixture(scope="module")
def pruned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pruned") / "run"
    ok(command.train(*PRUNED, "trainer.max_epochs=3", folder=folder))
    return folder


def test_the_model_that_is_left_is_smaller_and_says_so(pruned):
    told, run = command.metrics(pruned), load_run(pruned)
    count = sum(p.numel() for p in run.model.parameters())
    assert told["status"] == "finished"
    assert told["cost"]["parameters"] == count < told["cost"]["parameters_before_pruning"]
    assert told["pruning"]["method"] == "magnitude"
    assert 0.5 <= told["pruning"]["reached"] < 0.6
    assert sum(site.part.units for site in sites(run.model)) < 16 + 3 * 16
    saved = [checkpoint(pruned, name) for name in ("best", "last")]
    beside = json.loads((pruned / "checkpoints" / "arch.json").read_text())
    assert all(state["architecture"] == beside for state in saved)
    assert not list((pruned / "checkpoints").glob("recent/*.pt"))


def test_its_folder_is_all_that_evaluation_and_prediction_need(pruned, tmp_path):
    copy = tmp_path / "elsewhere"
    shutil.copytree(pruned, copy)
    ok(command.run("scripts/evaluate.py", f"run={copy}", "accelerator=cpu", cwd=tmp_path))
    again = next(copy.glob("evaluations/*/metrics.json"))
    found, told = json.loads(again.read_text())["test"], command.metrics(pruned)["test"]
    assert found["nll"] == pytest.approx(told["nll"], rel=1e-5)
    done = ok(command.run("scripts/predict.py", f"run={copy}", "input=-", cwd=tmp_path, stdin="the dog sees a cat .\n"))
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.slow
def test_it_goes_on_for_longer_with_its_moments(pruned, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(pruned, copy)
    sizes = {name: value.shape for name, value in checkpoint(copy, "last")["state_dict"].items()}
    ok(command.run("train.py", f"resume={copy}", "trainer.max_epochs=4", cwd=tmp_path))
    told, last = command.metrics(copy), checkpoint(copy, "last")
    assert (told["status"], told["train"]["epochs"]) == ("finished", 4)
    assert {name: value.shape for name, value in last["state_dict"].items()} == sizes
    assert told["pruning"] == command.metrics(pruned)["pruning"]
    moments = last["optimizer_states"][0]["state"]
    assert {float(entry["step"]) for entry in moments.values()} == {float(last["global_step"])}
    shapes = sorted(tuple(entry["exp_avg"].shape) for entry in moments.values())
    names = [name for name, _ in load_run(copy).model.named_parameters()]
    assert shapes == sorted(tuple(sizes[f"model.{name}"]) for name in names)


@pytest.mark.slow
def test_it_is_where_other_runs_begin_and_is_pruned_again(pruned, tmp_path):
    best = f"ckpt_path={pruned / 'checkpoints' / 'best.ckpt'}"
    ok(command.train("model.heads=4", best, "train=false", folder=tmp_path / "tested"))
    told = command.metrics(pruned)
    assert command.metrics(tmp_path / "tested")["test"]["nll"] == pytest.approx(told["test"]["nll"], rel=1e-5)
    ok(command.train(*PRUNED, best, "trainer.max_epochs=2", folder=tmp_path / "again"))
    again = command.metrics(tmp_path / "again")
    assert again["cost"]["parameters"] < told["cost"]["parameters"]
    assert again["cost"]["parameters_before_pruning"] == told["cost"]["parameters_before_pruning"]
    kept = {n: e["kept"] for n, e in checkpoint(tmp_path / "again")["architecture"]["sublayers"].items()}
    before = {n: e["kept"] for n, e in checkpoint(pruned)["architecture"]["sublayers"].items()}
    assert all(set(kept[name] or []) <= set(before[name] or []) for name in before)


@pytest.mark.slow
def test_a_model_of_its_size_is_trained_from_nothing(pruned, tmp_path):
    ok(
        command.train(
            "model.heads=4", f"arch={pruned}/checkpoints/arch.json", "trainer.max_epochs=1", folder=tmp_path / "run"
        )
    )
    told = command.metrics(tmp_path / "run")["cost"]
    assert told["parameters"] == command.metrics(pruned)["cost"]["parameters"]
    assert load_run(tmp_path / "run").model is not None
    assert checkpoint(tmp_path / "run")["architecture"] == checkpoint(pruned)["architecture"]


@pytest.mark.slow
def test_a_run_that_was_killed_between_its_two_files_finishes_them(tmp_path):
    folder = tmp_path / "run"
    ok(command.train(*PRUNED, "trainer.max_epochs=3", folder=folder))
    # As it would be: last.ckpt is compact, best.ckpt still gated.
    told = command.metrics(folder)
    told["status"] = "running"
    (folder / "metrics.json").write_text(json.dumps(told))
    gated = gated_again(folder)
    torch.save(gated, folder / "checkpoints" / "best.ckpt")
    ok(command.run("train.py", f"resume={folder}", cwd=tmp_path))
    assert command.metrics(folder)["status"] == "finished"
    assert checkpoint(folder)["architecture"] == checkpoint(folder, "last")["architecture"]


def gated_again(folder):
    """A checkpoint as it was before it was cut: the compact one's weights where they were, zeros elsewhere."""
    from manyheads import build
    from manyheads.data.base import load_spec
    from manyheads.load import read_config
    from manyheads.pruning.architecture import Architecture
    from manyheads.pruning.gates import Gates

    cfg, compact = read_config(folder), checkpoint(folder)
    whole = build.model(cfg, load_spec(folder))
    kept = {name: entry["kept"] for name, entry in Architecture(compact["architecture"]["sublayers"]).sublayers.items()}
    units = {
        s.name: torch.zeros(s.part.of).index_fill_(0, torch.tensor(kept[s.name] or [], dtype=torch.long), 1.0)
        for s in sites(whole)
    }
    # Any weights will do: the gates alone decide what is left.
    state = {f"model.{name}": value for name, value in whole.state_dict().items()}
    others = {name: value for name, value in compact["state_dict"].items() if not name.startswith("model.")}
    empty = {
        "state": {},
        "param_groups": [{**group, "params": []} for group in compact["optimizer_states"][0]["param_groups"]],
    }
    pruner = {**compact["callbacks"]["Pruner"], "compacted": False, "gates": Gates(units).content()}
    return {
        **{key: value for key, value in compact.items() if key != "architecture"},
        "state_dict": state | others,
        "optimizer_states": [empty],
        "callbacks": {**compact["callbacks"], "Pruner": pruner},
    }


@pytest.mark.slow
@pytest.mark.parametrize("method", ["l0", "taylor"])
def test_killed_in_the_middle_of_the_schedule_and_resumed(method, tmp_path):
    """The same gates, the same weights to the bit, and the same figures as those of the run that nobody stopped."""
    asked = (*PRUNED[1:], f"pruning={method}")
    ok(command.train(*asked, "trainer.max_epochs=3", "callbacks.last.every=3", folder=tmp_path / "whole"))
    settled = command.metrics(tmp_path / "whole")["pruning"]["settled_at"]
    folder = tmp_path / "run"
    code, _ = start_and_stop(folder, signal.SIGKILL, 12, *asked)
    assert code == -signal.SIGKILL
    assert reached(folder) < settled
    ok(command.run("train.py", f"resume={folder}", cwd=tmp_path))
    for name in ("best", "last"):
        one, other = checkpoint(tmp_path / "whole", name), checkpoint(folder, name)
        assert one["architecture"] == other["architecture"]
        assert all(torch.equal(value, other["state_dict"][key]) for key, value in one["state_dict"].items())
    for part in ("status", "val", "test", "pruning", "weights"):
        assert command.metrics(tmp_path / "whole")[part] == command.metrics(folder)[part], part


@pytest.mark.slow
def test_two_processes_prune_and_leave_one_compact_model(tmp_path):
    folder = tmp_path / "run"
    ok(command.train(*PRUNED, "trainer=ddp_sim", "trainer.max_epochs=3", folder=folder))
    told = command.metrics(folder)
    assert told["cost"]["parameters"] < told["cost"]["parameters_before_pruning"]
    assert 0.5 <= told["pruning"]["reached"] < 0.6
    assert load_run(folder).model is not None


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("pruning=magnitude", "compile=true"), "compile=true has nothing to gain"),
        (("pruning=magnitude", "pruning.target=0.99"), "cannot be reached"),
        (("arch=nowhere.json",), "nowhere.json is not there"),
        (("pruning=lo",), "lo"),
    ],
)
def test_mistakes_are_told_in_a_sentence(wrong, said, tmp_path):
    assert said in command.refused(command.train(*wrong, "trainer.max_epochs=1", folder=tmp_path / "run"))
