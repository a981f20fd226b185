"""Two processes meet as those of torchrun and SLURM do, before any training."""

import os
import socket
import time

import lightning.fabric.plugins.environments  # noqa: F401  the processes find it imported
import pytest
from torch import multiprocessing

from manyheads import meeting
from manyheads.errors import UserError


def _around(launcher, rank, port):
    if launcher == "torchrun":
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "GROUP_RANK": 0}
        return names | {"TORCHELASTIC_RUN_ID": "none", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    names = {"SLURM_PROCID": rank, "SLURM_LOCALID": rank, "SLURM_NTASKS": 2, "SLURM_NNODES": 1, "SLURM_NODEID": 0}
    return names | {"SLURM_JOB_NAME": "train", "SLURM_NODELIST": "127.0.0.1", "MASTER_PORT": port}


def _process(rank, launcher, port, folder):
    os.environ.update({name: str(value) for name, value in _around(launcher, rank, port).items()})
    os.environ.update({"OWN": f"of {rank}", "GONE": "kept"})
    if rank == 0:
        del os.environ["GONE"]
    meeting.share(("OWN", "GONE"))
    made = folder / "made"

    def prepare():
        (folder / f"{rank} found").write_text(str(made.exists()))
        time.sleep(0.2)
        made.touch()

    meeting.one_before_others(prepare)
    (folder / f"{rank} has").write_text(f"{os.environ['OWN']}, {os.environ.get('GONE')}")
    while rank == 0 and not (folder / "1 has").exists():  # under SLURM the store is its own
        time.sleep(0.05)


def _lonely(rank, port):
    os.environ.update({name: str(value) for name, value in _around("SLURM", rank, port).items()})
    if rank == 0:
        meeting.share(("HERE",))
        time.sleep(1)
        os._exit(0)
    meeting.share(("HERE",))
    with pytest.raises(UserError, match="first process of this run is gone"):
        meeting.share(("NEVER",))


def _port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.parametrize("launcher", ["torchrun", "SLURM"])
def test_all_have_what_the_first_one_has_and_it_prepares_before_them(tmp_path, launcher):
    arguments = (launcher, _port(), tmp_path)
    multiprocessing.start_processes(_process, args=arguments, nprocs=2, start_method="fork")
    assert {(tmp_path / f"{rank} has").read_text() for rank in (0, 1)} == {"of 0, None"}
    assert [(tmp_path / f"{rank} found").read_text() for rank in (0, 1)] == ["False", "True"]


def test_nobody_waits_for_a_first_process_that_has_ended():
    multiprocessing.start_processes(_lonely, args=(_port(),), nprocs=2, start_method="fork")
