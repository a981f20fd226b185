"""Processes that something else started together: how many they are, and what they agree on."""

import os
from argparse import Namespace

import pytest

from manyheads.config import ranks
from manyheads.config.ranks import Ranks
from manyheads.errors import UserError

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none",
    "RANK": "3",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_WORLD_SIZE": "2",
    "GROUP_RANK": "1",
}
SLURM = {
    "SLURM_NTASKS": "4",
    "SLURM_NNODES": "2",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_JOB_NAME": "train",
}


def test_torchrun_and_slurm_say_the_same():
    found = ranks.started(dict(TORCHRUN))
    assert found == Ranks("torchrun", rank=3, local=1, world=4, here=2, node=1)
    assert found.nodes == 2
    around = dict(SLURM)
    assert ranks.started(around) == Ranks("SLURM", rank=3, local=1, world=4, here=2, node=1)
    assert around["SLURM_NTASKS_PER_NODE"] == "2"  # which Lightning refuses to go without


@pytest.mark.parametrize("around", [{}, {"LOCAL_RANK": "1"}, {**SLURM, "SLURM_JOB_NAME": "bash"}])
def test_others_stand_alone(around):
    assert ranks.started(dict(around)) is None


def test_the_only_task_of_a_slurm_job_may_start_processes_itself():
    around = {**SLURM, "SLURM_NTASKS": "1"}
    assert ranks.started(around) is None
    assert "SLURM_NTASKS" not in around


def test_uneven_nodes_are_refused():
    with pytest.raises(UserError, match="torchrun started 5 processes, 2 of them"):
        ranks.started({**TORCHRUN, "WORLD_SIZE": "5"})


def agreed(rank, overrides=(), choose=lambda: None):
    args, shared = Namespace(overrides=list(overrides)), []
    ranks.agree(args, Ranks("torchrun", rank, rank, 2, 2, 0), shared.append, choose)
    return args.overrides, shared


def test_what_is_known_is_said_and_the_first_one_alone_keeps_hydras_notes(monkeypatch):
    monkeypatch.setenv(ranks.STAMP, "")  # and so taken away again behind this test
    known = ["seed=1", "trainer.devices=2", "trainer.num_nodes=1"]
    assert agreed(1, ["seed=1"])[0] == [*known, "hydra.output_subdir=null"]
    assert agreed(0, ["seed=1"])[0] == known


@pytest.mark.parametrize("said", ["trainer.devices=2", "trainer.devices=auto", "trainer.devices=-1"])
def test_who_says_the_same_is_heard(said):
    assert said in agreed(1, [said])[0]


@pytest.mark.parametrize("said", ["trainer.devices=4", "trainer.devices=[0]", "trainer.num_nodes=2"])
def test_who_says_otherwise_is_told(said):
    with pytest.raises(UserError, match="torchrun started processes for"):
        agreed(0, [said])


def test_all_have_the_first_ones_stamp_and_nobody_waits_for_one_that_failed(monkeypatch):
    monkeypatch.setenv(ranks.STAMP, "")  # and so taken away again behind this test
    assert ranks.stamp() != ranks.stamp()
    _, shared = agreed(0)
    assert shared == [ranks.SHARED]
    assert ranks.stamp() == os.environ[ranks.STAMP] == ranks.stamp()
    told = []
    with pytest.raises(UserError):
        ranks.agree(Namespace(overrides=[]), Ranks("torchrun", 0, 0, 2, 2, 0), told.append, _fail)
    assert told == [ranks.SHARED]


def _fail():
    raise UserError("no such run")


def test_the_others_choose_after_they_were_told():
    order = []
    args = Namespace(overrides=[])
    ranks.agree(args, Ranks("SLURM", 1, 1, 2, 2, 0), lambda names: order.append("told"), lambda: order.append("chose"))
    assert order == ["told", "chose"]
