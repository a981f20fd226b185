"""Ranks that were given different settings do not train."""

import pytest
from lightning.pytorch import LightningModule, Trainer
from torch import distributed as dist
from torch import multiprocessing

from manyheads.errors import UserError
from manyheads.training.one_config import OneConfig, fingerprint


def test_a_fingerprint_is_that_of_the_content():
    one = fingerprint({"a": 1, "b": {"c": [1, 2], "d": None}})
    assert one == fingerprint({"b": {"d": None, "c": [1, 2]}, "a": 1})
    assert one != fingerprint({"a": 1, "b": {"c": [2, 1], "d": None}})
    assert len(one) == 12


def _rank(rank, folder, settings):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    module, trainer = LightningModule(), Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    module.config = {"lr": settings[rank]}
    type(trainer).world_size = property(lambda self: 2)
    try:
        OneConfig().on_fit_start(trainer, module)
        said = "same"
    except UserError as problem:
        said = str(problem)
    (folder / str(rank)).write_text(said)


@pytest.mark.parametrize(("settings", "words"), [((0.1, 0.1), "same"), ((0.1, 0.2), "different settings")])
def test_two_ranks_are_compared(tmp_path, settings, words):
    multiprocessing.start_processes(_rank, args=(tmp_path, settings), nprocs=2, start_method="fork")
    for rank in "01":
        assert words in (tmp_path / rank).read_text()
