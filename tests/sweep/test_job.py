"""A job's command and environment, and what its folder says of how it ended."""

import fcntl
import json
import signal

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from manyheads.config.quoting import quoted
from manyheads.sweep.job import Job, begun, ended, finished, held


@pytest.fixture
def job(tmp_path):
    common = ("data=toy", "seed=2")
    return Job(3, common, ("seed=2",), tmp_path / "3", ("python", "train.py"), ("hydra.verbose=true",), (("A", "1"),))


def write(job, said="", **found):
    job.folder.mkdir(exist_ok=True)
    (job.folder / "output.log").write_text(said)
    if found:
        (job.folder / "metrics.json").write_text(json.dumps(found))


def test_a_new_job_is_a_single_run_in_its_folder(job):
    expected = ["data=toy", "seed=2", f"hydra.run.dir='{job.folder}'", "hydra.verbose=true", "hydra.mode=RUN"]
    assert job.command() == ["python", "train.py", *expected]


def test_a_job_that_has_begun_goes_on(job):
    write(job, status="running")
    assert not begun(job.folder)  # it has no config to go on with
    (job.folder / "config.yaml").touch()
    assert begun(job.folder)
    expected = [f"resume='{job.folder}'", "hydra.verbose=true", "hydra.mode=RUN"]
    assert job.command() == ["python", "train.py", *expected]


@pytest.mark.parametrize(
    "name", ["plain", "a b", "it's", "a,b", "a=b", "back\\slash", "end\\", "\\'", "ünï", "{x}", "$x"]
)
def test_any_folder_can_be_named(tmp_path, name):
    folder = tmp_path / name
    override = OverridesParser.create().parse_override(f"hydra.run.dir={quoted(folder)}")
    assert override.value() == str(folder)
    assert not override.is_sweep_override()


def test_nothing_of_another_runs_processes_is_handed_on(job):
    around = {"PATH": "/bin", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_PORT": "1", "MANYHEADS_RESUME": "/x"}
    assert job.variables(around) == {"PATH": "/bin", "A": "1"}


@pytest.mark.parametrize(("tasks", "left"), [("1", set()), ("4", {"SLURM_NTASKS"})])
def test_slurm_starts_the_ranks_only_where_it_has_several_tasks(job, tasks, left):
    assert {"SLURM_NTASKS"} & set(job.variables({"SLURM_NTASKS": tasks})) == left


@pytest.mark.parametrize("status", ["finished", "pruned"])
def test_what_is_done_needs_to_run_no_more(job, status):
    write(job, status=status, reason=None, objective=0.5)
    assert finished(job).status == status
    assert finished(job).objective == 0.5


@pytest.mark.parametrize("status", ["running", "failed", "interrupted"])
def test_what_is_not_done_runs_again(job, status):
    assert finished(job) is None
    write(job, status=status)
    assert finished(job) is None


def test_a_broken_record_is_none(job):
    write(job)
    (job.folder / "metrics.json").write_text('{"status": "finis')
    assert finished(job) is None


def test_the_runs_own_reason_is_told(job):
    write(job, "error: other words", status="failed", reason="it diverged")
    outcome = ended(job, 1, stopped=False)
    assert (outcome.status, outcome.reason) == ("failed", "it diverged")


@pytest.mark.parametrize(
    ("said", "code", "reason"),
    [
        ("hello\nerror: no such thing.\n", 1, "no such thing."),
        ("Traceback (most recent call last):\n  File\nValueError: a fault\n", 1, "ValueError: a fault"),
        ("torch.OutOfMemoryError: CUDA out of memory\n", 1, "torch.OutOfMemoryError: CUDA out of memory"),
        ("hello\n", -signal.SIGKILL, "killed by SIGKILL (out of memory?)"),
        ("hello\n", -signal.SIGSEGV, "killed by SIGSEGV"),
    ],
)
def test_a_reason_is_found_for_a_run_that_wrote_none(job, said, code, reason):
    write(job, said)
    assert ended(job, code, stopped=False).reason == reason
    assert not (job.folder / "metrics.json").exists()


def test_a_run_that_died_without_a_word_is_closed(job):
    write(job, status="running", reason=None, seed=2)
    assert ended(job, -signal.SIGKILL, stopped=False).status == "failed"
    found = json.loads((job.folder / "metrics.json").read_text())
    assert found == {"status": "failed", "reason": "killed by SIGKILL (out of memory?)", "seed": 2}


def test_a_job_that_the_sweep_stopped_has_not_failed(job):
    write(job, status="interrupted", reason="SIGTERM at step 3")
    assert ended(job, 143, stopped=True).status == "interrupted"
    assert ended(job, 143, stopped=False).status == "failed"  # somebody else stopped it


def test_a_folder_in_use_is_seen(job):
    assert not held(job.folder)
    write(job)
    with (job.folder / ".lock").open("w") as handle:
        assert not held(job.folder)
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert held(job.folder)
    assert not held(job.folder)
