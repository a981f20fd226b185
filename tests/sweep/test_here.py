"""How many jobs run at once on this machine, and which GPUs each is given."""

import os
from types import SimpleNamespace

import pytest

from manyheads.sweep import here
from manyheads.sweep.here import Here, gpus_here, gpus_wanted


class Started:
    """A job's process that ends when it is told."""

    def __init__(self, job, extra):
        self.extra, self.code = extra, None

    def poll(self):
        return self.code

    @property
    def gpus(self):
        return self.extra.get("CUDA_VISIBLE_DEVICES")


@pytest.fixture(autouse=True)
def processes(monkeypatch):
    monkeypatch.setattr(here, "Process", Started)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.mark.parametrize(
    ("jobs", "gpus", "usual", "limit"),
    [
        (None, [], 0, 1),
        (3, [], 0, 3),
        (None, ["0"], 1, 1),
        (None, ["0", "1", "2", "3"], 1, 4),
        (None, ["0", "1", "2", "3"], 2, 2),
        (None, ["0", "1", "2", "3"], None, 1),
        (None, ["0", "1"], 0, 1),
        (2, ["0", "1", "2", "3"], 1, 2),
        (None, ["0", "1"], 4, 1),
    ],
)
def test_so_many_at_once(jobs, gpus, usual, limit):
    assert Here(jobs, gpus, lambda job: usual, usual).limit == limit


def test_each_job_has_a_gpu_of_its_own():
    place = Here(None, ["0", "1", "5"], lambda job: 1, 1)
    first, second, third = (place.start(None) for _ in range(3))
    assert [first.gpus, second.gpus, third.gpus] == ["0", "1", "5"]
    second.code = 0
    assert place.start(None).gpus == "1"


def test_more_jobs_than_gpus_go_where_the_fewest_are():
    place = Here(4, ["0", "1"], lambda job: 1, 1)
    assert [place.start(None).gpus for _ in range(4)] == ["0", "1", "0", "1"]


def test_a_job_of_several_gpus_has_several():
    place = Here(None, ["0", "1", "2", "3"], lambda job: 2, 2)
    assert [place.start(None).gpus for _ in range(2)] == ["0,1", "2,3"]


@pytest.mark.parametrize("wanted", [None, 0])
def test_a_job_that_names_its_gpus_or_wants_none_sees_what_there_is(wanted):
    assert Here(None, ["0", "1"], lambda job: wanted, wanted).start(None).gpus is None


def test_one_gpu_is_left_as_it_is():
    assert Here(2, ["0"], lambda job: 1, 1).start(None).gpus is None


def test_jobs_side_by_side_share_the_cores(monkeypatch):
    cores = len(os.sched_getaffinity(0))
    assert Here(2, [], lambda job: 0, 0).start(None).extra == {"OMP_NUM_THREADS": str(max(1, cores // 2))}
    assert Here(1, [], lambda job: 0, 0).start(None).extra == {}
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert Here(2, [], lambda job: 0, 0).start(None).extra == {}


@pytest.mark.parametrize(
    ("accelerator", "devices", "wanted"),
    [("cpu", 2, 0), ("gpu", 1, 1), ("auto", 2, 2), ("cuda", "4", 4), ("gpu", "auto", None), ("gpu", -1, None)],
)
def test_gpus_of_a_trainer(accelerator, devices, wanted):
    assert gpus_wanted(SimpleNamespace(accelerator=accelerator, devices=devices)) == wanted


@pytest.mark.parametrize(
    ("given", "found"), [("", []), ("-1", []), ("0,3", ["0", "3"]), ("GPU-ab, GPU-cd", ["GPU-ab", "GPU-cd"])]
)
def test_gpus_that_may_be_used(monkeypatch, given, found):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert gpus_here() == found


def test_gpus_by_nvidia_smi(monkeypatch, tmp_path):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nprintf '0\\n1\\n'\n")
    program.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus_here() == ["0", "1"]
    program.unlink()
    assert gpus_here() == []
