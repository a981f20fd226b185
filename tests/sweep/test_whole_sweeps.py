"""Whole sweeps and searches, started, killed and started again as a user does it, with runs that compute nothing."""

import signal

import pytest
from omegaconf import OmegaConf
from project import alive, answers, metrics, run, start, wait_for

SEARCH = ("hparams_search=optuna", "optimizer.lr=tag(log,interval(1e-3,1))", "optimizer.layers=range(1,5)")


def statuses(sweep):
    return {number: found["status"] for number, found in metrics(sweep).items()}


def test_jobs_are_processes_and_single_runs(folder):
    code, out, err = run(folder, "-m", "seed=1,2", "hydra.sweep.dir=s", "hydra.verbose=false", WORLD_SIZE="1", RANK="0")
    assert code == 0, err
    found = metrics(folder / "s")
    assert len({job["pid"] for job in found.values()}) == 2
    for number, job in found.items():
        assert f"hydra.run.dir='{folder}/s/{number}'" in job["argv"]
        assert "hydra.mode=RUN" in job["argv"]
        assert "hydra.verbose=false" in job["argv"]
        assert not {"WORLD_SIZE", "RANK", "MANYHEADS_PARENT"} & set(job["environment"])
    # One at a time is followed.
    assert out.index("job 0 (seed=1): ") < out.index("seed 1 begins") < out.index("job 0 (seed=1) finished")
    assert "2 jobs: 2 finished. Everything is in" in out


def test_a_failed_job_is_told_and_tried_again_and_the_others_are_left_alone(folder):
    command = ("-m", "seed=1,2,3,4", "data.fails=[2]", "data.dies=[3]", "sweep.jobs=2", "hydra.sweep.dir=s")
    code, out, err = run(folder, *command)
    assert code == 1
    assert err.splitlines() == [
        "error: job 1 (seed=2) failed: the seed 2 fails",
        "error: job 2 (seed=3) failed: killed by SIGKILL (out of memory?)",
        f"Try again what failed: python train.py resume={folder}/s",
    ]
    assert "4 jobs: 2 finished, 2 failed" in out
    assert "seed 1 begins" not in out  # several at once write to their own files
    assert statuses(folder / "s") == {0: "finished", 1: "failed", 2: "failed", 3: "finished"}
    assert metrics(folder / "s")[2]["reason"] == "killed by SIGKILL (out of memory?)"
    assert "seed 1 begins" in (folder / "s" / "0" / "output.log").read_text()
    assert f"The report is {folder}/s/report.html" in out
    assert "the seed 2 fails" in (folder / "s" / "report.md").read_text()
    assert (folder / "s" / "report.csv").exists()

    before = metrics(folder / "s")
    code, _, _ = run(folder, "resume=s", "sweep.jobs=4")
    after = metrics(folder / "s")
    assert code == 1
    assert [after[n]["resumed"] for n in (1, 2)] == [True, True]
    assert [after[n] == before[n] for n in (0, 3)] == [True, True]


REFUSED = {
    ("-m", "seed=1,2", "hydra.sweep.dir=s"): "holds the sweep of another command (seed=1)",
    ("resume=s", "seed=2"): "seed=2 cannot change in the middle of a sweep",
    ("-m", "seed=1,2", "hydra.sweep.dir=r"): "holds a single run",
    ("-m", "seed=1,2", "resume=auto"): "name its folder",
    ("-m", "seed=1", "hydra.sweep.subdir=x", "hydra.sweep.dir=t"): "leave out hydra.sweep.subdir",
    ("-m", "seed=1", "sweep.jobs=0", "hydra.sweep.dir=t"): "sweep.jobs must be 1 or more",
    ("-m", "seed=1", "sweep.jobs=two", "hydra.sweep.dir=t"): "sweep.jobs must be a whole number or null, not 'two'.",
    ("-m", "seed=1", "hydra.launcher.grace=long", "hydra.sweep.dir=t"): "hydra.launcher.grace must be a number",
    # Folders from somebody else run nothing.
    ("resume=a",): "could run any code",
    ("resume=b",): "could run any code",
    ("resume=c",): "cannot be read",
}
STRANGE = {"a": "+hydra.callbacks={x: {_target_: os.system}}", "b": "data._target_=os.system"}


def test_what_is_no_sweep_of_this_command_is_refused_and_left_as_it_is(folder):
    for name, text in {"s/sweep.yaml": "overrides: [seed=1]", "r/metrics.json": "{}", "c/sweep.yaml": "[1"}.items():
        (folder / name).parent.mkdir()
        (folder / name).write_text(text)
    for name, override in STRANGE.items():
        (folder / name).mkdir()
        OmegaConf.save(OmegaConf.create({"overrides": [override]}), folder / name / "sweep.yaml")
    for (code, err), words in zip(answers(folder, *REFUSED), REFUSED.values(), strict=True):
        assert words in err
        assert (code, err.count("\n"), "Traceback" in err) == (1, 1, False), err
    assert sorted(path.name for path in (folder / "s").iterdir()) == ["sweep.yaml"]
    assert not (folder / "t").exists()


def test_every_process_of_torchrun_is_refused_a_sweep(folder):
    ((code, err),) = answers(folder, ("-m", "seed=1"), WORLD_SIZE="2", RANK="1", LOCAL_RANK="1")
    assert code == 1
    assert "start it without torchrun" in err


@pytest.mark.parametrize("name", ["SIGKILL", *(pytest.param(n, marks=pytest.mark.slow) for n in ("SIGTERM", "SIGINT"))])
def test_a_stopped_sweep_stops_its_jobs_and_goes_on(folder, name):
    command = ("-m", "seed=1,2,3", "data.seconds=60", "sweep.jobs=2", "hydra.sweep.dir=s")
    started = start(folder, *command)
    for number in (0, 1):
        wait_for(folder / "s" / str(number) / "metrics.json")
    started.send_signal(getattr(signal, name))
    _, err = started.communicate(timeout=60)
    stopped = name != "SIGKILL"
    assert started.returncode == (128 + getattr(signal, name) if stopped else -signal.SIGKILL)
    assert ("Interrupted. Go on with: python train.py resume=" in err) is stopped
    assert not (folder / "s" / "2").exists()

    pids = [job["pid"] for job in metrics(folder / "s").values()]
    code, _, err = run(folder, *command)
    assert code == 0, err
    assert not any(alive(pid) for pid in pids)
    assert statuses(folder / "s") == dict.fromkeys(range(3), "finished")
    assert [job["resumed"] for job in metrics(folder / "s").values()] == [True, True, False]


def test_a_job_that_hears_nothing_does_not_keep_its_sweep_waiting(folder):
    command = ("-m", "seed=1", "data.seconds=600", "data.deaf=true", "hydra.launcher.grace=1", "hydra.sweep.dir=s")
    started = start(folder, *command)
    wait_for(folder / "s" / "0" / "metrics.json")
    started.kill()
    started.communicate(timeout=60)
    (pid,) = (job["pid"] for job in metrics(folder / "s").values())
    assert alive(pid)
    code, out, err = run(folder, *command)
    assert code == 0, err
    assert "waiting for the process that still works in" in out
    assert not alive(pid)
    assert metrics(folder / "s")[0]["resumed"]


@pytest.mark.slow
def test_two_sweeps_do_not_share_a_folder(folder):
    command = ("-m", "seed=1,2", "data.seconds=60", "hydra.sweep.dir=s")
    started = start(folder, *command)
    wait_for(folder / "s" / "0" / "metrics.json")
    code, _, err = run(folder, *command)
    assert code == 1
    assert "is still going, in another process" in err
    started.send_signal(signal.SIGTERM)
    started.communicate(timeout=60)


@pytest.mark.slow
def test_a_search_killed_and_started_again(folder):
    """So many trials as were asked for, none twice, at least one pruned, no folder written over."""
    command = (*SEARCH, "data.seconds=1", "hydra.sweeper.n_trials=8", "hydra.sweeper.pruner.n_startup_trials=2")
    command = (*command, "sweep.jobs=2", "hydra.sweep.dir=s")
    started = start(folder, *command)
    wait_for(folder / "s" / "3" / "metrics.json")
    started.kill()
    started.communicate(timeout=60)
    before = {number: job for number, job in metrics(folder / "s").items() if job["status"] in ("finished", "pruned")}
    code, out, err = run(folder, *command)
    assert code == 0, err
    found = metrics(folder / "s")
    assert list(found) == list(range(8))
    assert {n: found[n] for n in before} == before
    assert {job["status"] for job in found.values()} == {"finished", "pruned"}
    assert any(job["resumed"] for job in found.values())
    results = OmegaConf.load(folder / "s" / "optimization_results.yaml")
    best = min(job["objective"] for job in found.values() if job["objective"] is not None)
    assert results.best[0]["values"] == {"val/loss": best}
    assert sum(results.trials.values()) == 8
    assert "8 trials: " in out

    code, out, _ = run(folder, *command)  # nothing is left to do
    assert code == 0
    assert metrics(folder / "s") == found


@pytest.mark.slow
def test_a_search_for_two_things(folder):
    two = ("optimized_metric=[val/loss,cost/x]", "hydra.sweeper.direction=[null,minimize]", "hydra.sweeper.n_trials=3")
    code, out, err = run(folder, *SEARCH, *two, "hydra/sweeper/sampler=nsgaii", "hydra.sweep.dir=s", "sweep.jobs=3")
    assert code == 0, err
    assert "Best: job 0: val/loss " in out
    assert ", cost/x -" in out


@pytest.mark.slow
def test_a_failed_trial_is_counted_and_told(folder):
    code, out, err = run(folder, "hparams_search=optuna", "seed=choice(1,2)", "data.fails=[2]", "hydra.sweep.dir=s",
                         "hydra/sweeper/sampler=grid", "sweep.jobs=2")  # fmt: skip
    assert code == 1
    assert "(seed=2) failed: the seed 2 fails" in err
    assert "2 trials: " in out
    assert "1 fail" in out


MISTAKES = {
    ("optimizer.lr=0.1",): "There is nothing to search",
    ("optimizer.lrr=interval(0,1)",): "Did you mean optimizer.lr?",
    ("attention=choice(dense,linaer)",): "Did you mean linear?",
    ("seed=choice(1,2)", "hydra/sweeper/sampler=grdi"): "Did you mean grid?",
    ("seed=choice(1,2)", "hydra.sweeper.n_trials=abc"): "hydra.sweeper.n_trials must be a whole number",
    ("seed=choice(1,2)", "optimized_metric=val/bleu"): "Is a small val/bleu better",
    ("seed=choice(1,2)", "optimized_metric=null"): "needs to know what is best",
    ("seed=choice(1,2)", "hydra/launcher=basic"): "hydra/launcher=processes, ray, slurm",
    ("seed=choice(1,2)", "hydra/launcher=submitit_local"): "say by sweep.jobs=N",
    ("optimizer.lr=interval(0,1)", "hydra/sweeper/sampler=grid"): "a grid has no values for interval()",
}


def test_mistakes_of_a_search_start_no_trial_and_leave_nothing(folder):
    commands = [("hparams_search=optuna", "hydra.sweep.dir=s", *mistake) for mistake in MISTAKES]
    for (code, err), words in zip(answers(folder, *commands), MISTAKES.values(), strict=True):
        assert words in err
        assert (code, "Traceback" in err) == (1, False), err
    assert not (folder / "s").exists()
