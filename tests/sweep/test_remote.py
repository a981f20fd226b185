"""The same sweep on Ray, on a cluster of two workers, and through submitit, in its local mode."""

import signal

import pytest
from project import alive, metrics, run, start, wait_for

LAUNCHERS = [
    pytest.param("ray", ("hydra/launcher=ray", "hydra.launcher.init.num_cpus=2"), id="ray"),
    pytest.param("submitit", ("hydra/launcher=submitit_local", "sweep.jobs=2"), id="submitit"),
]


@pytest.fixture
def installed(request):
    pytest.importorskip(request.getfixturevalue("package"), reason="an extra that is not installed")


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("package", "launcher"), LAUNCHERS)
def test_four_jobs_one_of_which_fails(folder, package, launcher):
    code, out, err = run(folder, "-m", *launcher, "seed=1,2,3,4", "data.fails=[3]", "hydra.sweep.dir=s")
    assert code == 1, err
    assert "error: job 2 (seed=3) failed: the seed 3 fails" in err
    assert "4 jobs: 3 finished, 1 failed" in out
    found = metrics(folder / "s")
    assert [job["status"] for job in found.values()] == ["finished", "finished", "failed", "finished"]
    assert len({job["pid"] for job in found.values()}) == 4


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
@pytest.mark.parametrize(("package", "launcher"), LAUNCHERS)
def test_a_stopped_sweep_goes_on(folder, package, launcher, name):
    command = ("-m", *launcher, "seed=1,2,3", "data.seconds=20", "hydra.sweep.dir=s")
    started = start(folder, *command)
    for number in (0, 1):
        wait_for(folder / "s" / str(number) / "metrics.json", seconds=120)
    started.send_signal(getattr(signal, name))
    started.communicate(timeout=120)
    pids = [job["pid"] for job in metrics(folder / "s").values()]
    code, _, err = run(folder, *command)
    assert code == 0, err
    assert not any(alive(pid) for pid in pids)
    found = metrics(folder / "s")
    assert [job["status"] for job in found.values()] == ["finished"] * 3
    # What SLURM has begun goes on without the sweep that submitted it; Ray ends it.
    assert found[0]["resumed"] is (package == "ray" or name == "SIGTERM")


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("package", "launcher"), LAUNCHERS)
def test_a_search_runs_there_too(folder, package, launcher):
    search = ("hparams_search=optuna", "optimizer.lr=interval(0,1)", "hydra.sweeper.n_trials=3", "hydra.sweep.dir=s")
    code, out, err = run(folder, *search, *launcher, "sweep.jobs=2")
    assert code == 0, err
    assert "3 trials: " in out
    assert list(metrics(folder / "s")) == [0, 1, 2]
