"""Real sweeps and searches: every job trains a tiny model in a process of its own, on two ranks where that is asked."""

import json
import re
import time

import command
import pytest
from omegaconf import OmegaConf

TWO = ("trainer.devices=2", "test=false", "preflight=false", "trainer.max_epochs=2", "schedule.warmup=2")


def told(sweep):
    return {int(p.parent.name): json.loads(p.read_text()) for p in sorted(sweep.glob("[0-9]*/metrics.json"))}


def hashes(sweep):
    """What each rank of each job says of its settings."""
    logs = {path.parent.name: path.read_text() for path in sorted(sweep.glob("[0-9]*/train.log"))}
    return {name: re.findall(r"Settings by rank: (\S+) (\S+)", text) for name, text in logs.items()}


def started(cwd, *arguments):
    process = command.started("train.py", *arguments, cwd=cwd)
    out, err = process.communicate()
    return process.returncode, out, err


@pytest.mark.slow
def test_ranks_of_a_sweeps_jobs_train_the_same_settings(tmp_path):
    strategies = "trainer.strategy=ddp_fork,ddp"
    code, out, err = started(tmp_path, "-m", *command.TINY, *TWO, strategies, "hydra.sweep.dir=s")
    assert code == 0, out + err
    found = hashes(tmp_path / "s")
    assert list(found) == ["0", "1"]
    assert all(len(pairs) == 1 and pairs[0][0] == pairs[0][1] for pairs in found.values())
    assert found["0"] != found["1"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == [
        "outputs",
        "s",
    ]  # the cache, no second sweep


@pytest.mark.slow
def test_a_search_with_two_ranks_killed_and_started_again(tmp_path):
    search = (
        "hparams_search=optuna",
        *command.TINY,
        *TWO,
        "trainer.strategy=ddp_fork",
        "optimizer.lr=tag(log,interval(1e-6,1e-1))",
        "hydra.sweeper.n_trials=5",
        "hydra.sweeper.pruner.n_startup_trials=1",
        "hydra.sweeper.pruner.n_warmup_steps=0",
        "hydra.sweep.dir=s",
    )
    process = command.started("train.py", *search, cwd=tmp_path)
    while not list(tmp_path.glob("s/2/checkpoints/*.ckpt")):
        assert process.poll() is None
        time.sleep(0.2)
    process.kill()
    process.communicate()
    code, out, err = started(tmp_path, *search)
    assert code == 0, out + err
    found = told(tmp_path / "s")
    assert list(found) == [0, 1, 2, 3, 4]
    assert {run["status"] for run in found.values()} == {"finished", "pruned"}
    pairs = [pair for per_job in hashes(tmp_path / "s").values() for pair in per_job]
    assert len(pairs) >= 5
    assert all(first == second for first, second in pairs)
    rates = {OmegaConf.load(tmp_path / "s" / str(n) / "config.yaml").optimizer.lr for n in found}
    assert len(rates) == 5
