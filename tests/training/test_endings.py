"""How a run ended is understood from what was really raised: by allocators, by processes that died, by the disk."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from torch import distributed as dist
from torch import multiprocessing
from torch.multiprocessing.spawn import ProcessRaisedException
from torch.utils.tensorboard import SummaryWriter

from manyheads.errors import UserError
from manyheads.training import faults, ranks
from manyheads.training.interrupts import Interrupted


def ending(problem, folder, roomier=lambda: "data.batch_tokens=100"):
    return faults.ending(problem, folder, None, roomier)


def raised(call):
    with pytest.raises(Exception) as found:  # noqa: PT011
        call()
    return found.value


@pytest.mark.parametrize("allocate", [lambda: torch.empty(1 << 50), lambda: np.ones(1 << 46), lambda: b"x" * (1 << 46)])
def test_real_allocators_are_understood_and_what_fits_is_said(tmp_path, allocate):
    found = ending(raised(allocate), tmp_path)
    assert found.status == "failed"
    assert "data.batch_tokens=100 would fit" in found.reason
    assert "set data.batch_tokens=100" in found.sentence
    assert f"resume={tmp_path}" in found.sentence


def test_without_room_to_look_a_sentence_comes_all_the_same(tmp_path):
    found = ending(raised(lambda: torch.empty(1 << 50)), tmp_path, lambda: torch.empty(1 << 50))
    assert "a smaller data.batch_tokens or data.batch" in found.sentence


def test_another_mistake_is_none_of_these(tmp_path):
    found = ending(raised(lambda: torch.ones(2) @ torch.ones(3)), tmp_path)
    assert found.sentence is None
    assert "size" in found.reason


def forked(act):
    def one(rank):
        if rank == 1:
            act()
        time.sleep(30)

    return raised(lambda: multiprocessing.start_processes(one, nprocs=2, start_method="fork"))


def refuse():
    raise UserError("The data is bad.")


def test_what_a_forked_process_raised_comes_through_its_traceback(tmp_path):
    assert ending(forked(refuse), tmp_path).sentence == "The data is bad."
    assert "data.batch_tokens=100" in ending(forked(lambda: torch.empty(1 << 50)), tmp_path).sentence
    found = ending(forked(lambda: torch.ones(2) @ torch.ones(3)), tmp_path)
    assert found.reason.startswith("rank 1: RuntimeError")
    assert found.sentence is None, "a traceback says more"


def test_a_forked_process_that_is_killed_is_named(tmp_path):
    found = ending(forked(lambda: os.kill(os.getpid(), signal.SIGKILL)), tmp_path)
    assert found.reason == "Rank 1 was killed by SIGKILL (out of memory?)"
    assert f"resume={tmp_path}" in found.sentence


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_forked_process_that_was_told_to_stop_leaves_without_a_traceback(tmp_path, capfd, number):
    def leave():
        raise Interrupted(number, 7)

    found = ending(forked(leave), tmp_path)
    assert (found.status, found.number) == ("interrupted", number)
    assert "Traceback" not in capfd.readouterr().err


def _gone(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    dist.all_reduce(torch.ones(1))
    if rank == 1:
        os._exit(0)  # not by a signal, so that the other may tell
    dist.all_reduce(torch.ones(1))


def test_what_gloo_says_of_a_process_that_is_gone_is_understood(tmp_path):
    problem = raised(lambda: multiprocessing.start_processes(_gone, args=(tmp_path,), nprocs=2, start_method="fork"))
    assert isinstance(problem, ProcessRaisedException)
    said = str(problem).strip().splitlines()[-1]
    assert ranks.is_loss(RuntimeError(said)), said
    assert not ranks.is_loss(raised(lambda: torch.ones(2) @ torch.ones(3)))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_log_on_a_full_disk_is_told_with_the_folder(small_disk):
    disk = small_disk(64)
    writer = SummaryWriter(str(disk), max_queue=1)

    def fill():
        for step in range(100_000):
            writer.add_scalar("loss", 1.0, step)
            writer.flush()

    found = ending(raised(fill), disk)
    assert found.sentence.startswith(f"A file of {disk}")
    assert "disk is full" in found.sentence


def sleeper(code="import time; time.sleep(60)"):
    return subprocess.Popen([sys.executable, "-c", code])


def test_the_watch_ends_the_run_when_a_process_dies(monkeypatch):
    monkeypatch.setattr(ranks, "PAUSE", 0.01)
    monkeypatch.setattr(ranks, "GRACE", 0.01)
    told, processes = [], [sleeper("pass"), sleeper()]
    watch = ranks.Watch(processes, lambda rank, code: told.append((rank, code)))
    watch.start()
    processes[0].wait()
    time.sleep(0.1)
    assert not told, "one that finished is no fault"
    processes[1].kill()
    watch.join(10)
    assert told == [(2, -signal.SIGKILL)]


def test_the_watch_leaves_the_word_to_who_knows_already(monkeypatch):
    monkeypatch.setattr(ranks, "PAUSE", 0.01)
    told, process = [], sleeper()
    watch = ranks.Watch([process], lambda rank, code: told.append(rank))
    watch.start()
    process.kill()
    process.wait()
    watch.over.set()
    watch.join(10)
    assert not watch.is_alive()
    assert not told


def test_the_reason_that_a_rank_left_is_told(tmp_path):
    ranks.leave_word(tmp_path, 3, "out of memory")
    assert ranks.died(3, 1, ranks._words(tmp_path)[3]) == "Rank 3: out of memory"
    ranks.forget_words(tmp_path)
    assert not list(tmp_path.iterdir())
    assert ranks.died(3, 1, None) == "Rank 3 ended with exit code 1"
