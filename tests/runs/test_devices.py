"""Real runs on several processes: they train what one trains, leave what one leaves, and find each other."""

import csv
import re
import subprocess
import sys

import cells
import command
import pytest
import torch
from omegaconf import OmegaConf

LOGGED = ("logger=csv", "trainer.log_every_n_steps=1", "preflight=false", "trainer.limit_test_batches=null")
RECIPE = (*LOGGED, "trainer.max_epochs=2", "model.dropout=0", "optimizer.lr=1e-2", "schedule.warmup=2")
ONE = ("trainer=cpu", "trainer.accumulate_grad_batches=2")
"""One process that takes the batches of two ranks in each step."""
TWO = {
    "ddp": ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"),
    "fsdp": ("trainer=fsdp_sim",),
    "fsdp, recomputed": ("trainer=fsdp_sim", "activation_checkpointing=true"),
}


def finished_run(folder, *overrides, settings=command.TINY, program=(sys.executable, "train.py"), **around):
    """Runs train.py in processes of its own, as a user would."""
    arguments = [*settings, *overrides, *([f"hydra.run.dir={folder}"] if folder else [])]
    script = [str(command.REPOSITORY / word) if word == "train.py" else word for word in program]
    return subprocess.Popen(
        [*script, *arguments],
        env=command.environment(**around),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(*processes):
    """What they said; all must have ended well."""
    said = [process.communicate(timeout=500)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), "\n".join(said)
    return said


def losses(folder):
    """Of every step."""
    with open(folder / "csv" / "metrics.csv") as lines:
        return [float(row["train/loss"]) for row in csv.DictReader(lines) if row["train/loss"]]


def saved(folder, name="last"):
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", map_location="cpu", weights_only=True)


def shapes(state):
    return {name: (type(value), value.shape, value.dtype) for name, value in state.items()}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "run"
    ended(finished_run(folder, *RECIPE, *ONE))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", TWO)
def test_two_ranks_train_what_one_process_trains_with_the_same_batches(alone, tmp_path, kind):
    folder = tmp_path / "run"
    (said,) = ended(finished_run(folder, *RECIPE, *TWO[kind]))
    assert len(losses(alone)) > 20
    assert losses(folder) == pytest.approx(losses(alone), rel=1e-5)
    one, two = command.metrics(alone), command.metrics(folder)
    for split in ("train", "val", "test"):
        assert two[split] == pytest.approx(one[split], rel=1e-4)
    assert len(set(re.search(r"Settings by rank: (\S+) (\S+)", said).groups())) == 1
    assert said.count("epoch 2 · step") == 1  # one process speaks
    assert two["cost"]["parameters"] == one["cost"]["parameters"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_what_two_ranks_leave_is_what_one_leaves(alone, tmp_path, kind):
    folder = tmp_path / "run"
    ended(finished_run(folder, *RECIPE, *TWO[kind]))
    assert _files(folder) == _files(alone)
    for name in ("best", "last"):
        one, two = saved(alone, name), saved(folder, name)
        assert set(two) == set(one)
        assert shapes(two["state_dict"]) == shapes(one["state_dict"])
        (mine,), (its) = two["optimizer_states"], one["optimizer_states"][0]
        assert [group["params"] for group in mine["param_groups"]] == [group["params"] for group in its["param_groups"]]
        assert {n: shapes(kept) for n, kept in mine["state"].items()} == {n: shapes(k) for n, k in its["state"].items()}
        for weight, its_weight in zip(two["state_dict"].values(), one["state_dict"].values(), strict=True):
            torch.testing.assert_close(weight, its_weight, rtol=1e-3, atol=1e-4)
    again = command.run("scripts/evaluate.py", f"run={folder}", "accelerator=cpu", cwd=tmp_path)
    assert again.returncode == 0, again.stderr


def _files(folder):
    """What lies in a run's folder; which step is the best may be another by a rounding, and so what was kept."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("then", ["fsdp", "ddp"])
def test_a_sharded_run_goes_on_to_the_bit_sharded_or_not(tmp_path, then):
    dropout = (*RECIPE, "model.dropout=0.2", "schedule=constant")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    ended(finished_run(whole, *dropout, *TWO["fsdp"]))
    ended(finished_run(cut, *dropout, *TWO["fsdp"], "trainer.max_epochs=1"))
    strategy = () if then == "fsdp" else ("trainer.strategy=ddp",)
    ended(finished_run(None, f"resume={cut}", "trainer.max_epochs=2", *strategy, settings=()))
    one, other = saved(whole), saved(cut)
    assert one["global_step"] == other["global_step"] > saved(cut, "previous")["global_step"]
    assert all(torch.equal(other["state_dict"][name], value) for name, value in one["state_dict"].items())
    mine, its = (state["optimizer_states"][0]["state"] for state in (other, one))
    assert all(torch.equal(mine[n][key], value) for n, kept in its.items() for key, value in kept.items())


@pytest.mark.slow
def test_a_sharded_run_goes_on_alone(tmp_path):
    folder = tmp_path / "run"
    ended(finished_run(folder, *RECIPE, *TWO["fsdp"], "trainer.max_epochs=1"))
    before = saved(folder)["global_step"]
    alone = ("trainer.max_epochs=2", "trainer.devices=1", "trainer.strategy=auto")
    ended(finished_run(None, f"resume={folder}", *alone, settings=()))
    assert saved(folder)["global_step"] > before
    assert command.metrics(folder)["status"] == "finished"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["clinical_long", "timeseries", "language_model"])
def test_every_family_scores_the_same_sharded(tmp_path, kind):
    settings = cells.settings(kind, "encoder_only" if kind != "language_model" else "decoder_only")
    # Adam makes whole steps of gradients that are nothing but rounding, such as those of what begins at its optimum.
    recipe = (*RECIPE, "trainer.max_epochs=1", "optimizer.eps=1e-4")
    ended(finished_run(tmp_path / "one", *recipe, *ONE, settings=settings))
    ended(finished_run(tmp_path / "two", *recipe, *TWO["fsdp"], settings=settings))
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
    one, two = (command.metrics(tmp_path / name) for name in ("one", "two"))
    for split in ("val", "test"):
        assert two[split] == pytest.approx(one[split], rel=1e-3, abs=1e-6)


TORCHRUN = (sys.executable, "-m", "torch.distributed.run")


def only_folder(place):
    """The one run that was made below `place`."""
    (found,) = [path.parent for path in place.rglob("metrics.json")]
    assert len([path for path in place.rglob(".hydra")]) == 1
    return found


@pytest.mark.slow
def test_torchrun_starts_one_run_in_one_folder_and_finds_it_again(alone, tmp_path):
    program = (*TORCHRUN, "--nproc_per_node", "2", "train.py")
    outputs = f"paths.outputs={tmp_path}"
    ended(finished_run(None, *RECIPE, "trainer=ddp", "trainer.accelerator=cpu", outputs, program=program))
    folder = only_folder(tmp_path)
    assert losses(folder) == pytest.approx(losses(alone), rel=1e-5)
    said = OmegaConf.load(folder / "config.yaml").trainer
    assert (said.devices, said.num_nodes) == (2, 1)
    metrics = folder / "metrics.json"  # as if it had been cut off
    metrics.write_text(metrics.read_text().replace('"finished"', '"interrupted"'))
    again = (*RECIPE, "trainer=ddp", "trainer.accelerator=cpu", outputs, "resume=auto")
    ended(finished_run(None, *again, program=program))
    assert only_folder(tmp_path) == folder
    assert command.metrics(folder)["status"] == "finished"


@pytest.mark.slow
def test_two_nodes_of_torchrun_are_one_run(alone, tmp_path):
    nodes = ("--nnodes", "2", "--nproc_per_node", "1", "--master_addr", "127.0.0.1", "--master_port", "29714")
    programs = [(*TORCHRUN, *nodes, "--node_rank", str(number), "train.py") for number in (0, 1)]
    overrides = (*RECIPE, "trainer=fsdp_sim", f"paths.outputs={tmp_path}")
    said = ended(*[finished_run(None, *overrides, program=program) for program in programs])
    folder = only_folder(tmp_path)
    assert losses(folder) == pytest.approx(losses(alone), rel=1e-5)
    assert OmegaConf.load(folder / "config.yaml").trainer.num_nodes == 2
    assert "Weights:" in said[0]
    assert "Weights:" not in said[1]


@pytest.mark.slow
def test_tasks_of_slurm_are_one_run(alone, tmp_path):
    """By SLURM's own variables, without a SLURM."""
    job = {"SLURM_NTASKS": "2", "SLURM_NNODES": "1", "SLURM_NODEID": "0", "SLURM_JOB_ID": "4711"}
    job |= {"SLURM_JOB_NAME": "train", "SLURM_NODELIST": "127.0.0.1"}
    overrides = (*RECIPE, "trainer=ddp", "trainer.accelerator=cpu", f"paths.outputs={tmp_path}")
    numbers = [{"SLURM_PROCID": rank, "SLURM_LOCALID": rank} for rank in "01"]
    ended(*[finished_run(None, *overrides, **job, **number) for number in numbers])
    assert losses(only_folder(tmp_path)) == pytest.approx(losses(alone), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("search", [False, True], ids=["-m", "optuna"])
def test_in_a_sweep_and_in_a_search_as_well(alone, tmp_path, search):
    sweep = tmp_path / "sweep"
    asked = ("hparams_search=optuna", "optimizer.lr=choice(0.01)", "hydra.sweeper.n_trials=2") if search else ("-m",)
    kinds = ("trainer=fsdp_sim",) if search else ("trainer=fsdp_sim", "sweep.jobs=1", "seed=1,2")
    ended(finished_run(None, *RECIPE, *kinds, *asked, f"hydra.sweep.dir={sweep}"))
    jobs = sorted(path.parent for path in sweep.glob("[0-9]*/metrics.json"))
    assert len(jobs) == 2
    assert losses(jobs[0]) == pytest.approx(losses(alone), rel=1e-5)
    for job in jobs:
        ranks = re.findall(r"Settings by rank: (\S+) (\S+)", (job / "train.log").read_text())
        assert len(ranks) == 1
        assert ranks[0][0] == ranks[0][1]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_low_precision_trains_on_a_cpu(tmp_path, precision):
    asked = (*RECIPE, f"trainer.precision={precision}")
    done = command.train(*asked, folder=tmp_path / "run")
    assert done.returncode == 0, done.stderr
    found = command.metrics(tmp_path / "run")
    assert found["train"]["steps"] > 10
    assert found["val"]["loss"] < 5.5  # it begins above ln 400 = 6.0


REFUSED = {
    ("trainer=fsdp_sim", "trainer.precision=16-mixed"): "trainer.precision=16-mixed does not go with trainer=fsdp",
    ("trainer=fsdp_sim", "callbacks=ema"): "callbacks=ema keeps a second model whole",
    ("trainer.strategy=fsdp",): "take trainer=fsdp",
    ("trainer=cpu", "trainer.precision=16-mixed"): "trainer.precision=16-mixed is for GPUs",
    ("trainer=fsdp",): "torch finds no GPU here",
    ("trainer.num_nodes=2",): "start the run on every node by torchrun, or by srun",
}


@pytest.mark.parametrize("asked", REFUSED, ids=" ".join)
def test_what_cannot_work_is_refused_before_anything_is_made(tmp_path, monkeypatch, asked):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert REFUSED[asked] in command.refused(command.train(*asked, folder=tmp_path / "run"))
    assert not (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (("trainer=ddp_sim",), "torchrun has started them already"),
        (("trainer.devices=3",), "torchrun started processes for trainer.devices=2"),
        (("-m", "seed=1,2"), "start a sweep alone"),
        (("hparams_search=recipe",), "start a sweep alone"),
    ],
)
def test_what_torchrun_cannot_start_is_refused(tmp_path, monkeypatch, asked, sentence):
    names = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0"}
    names |= {"TORCHELASTIC_RUN_ID": "none", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MANYHEADS_STAMP", "")  # and so taken away again behind this test
    monkeypatch.setattr("manyheads.meeting.share", lambda names: None)
    assert sentence in command.refused(command.train(*asked, folder=tmp_path / "run"))
