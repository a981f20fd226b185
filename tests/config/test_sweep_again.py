"""The command that goes on with a sweep."""

import pytest
from omegaconf import OmegaConf

from manyheads.config.sweeps import BOOK, again, deciding
from manyheads.errors import UserError


def begun(folder, *overrides):
    OmegaConf.save(OmegaConf.create({"overrides": list(overrides)}), folder / BOOK)
    return folder


def test_another_launcher_is_told_nothing_of_the_one_before(tmp_path):
    folder = begun(tmp_path, "seed=1,2", "hydra/launcher=slurm", "hydra.launcher.parameters.slurm_partition=gpu")
    assert again(folder, ["hydra/launcher=processes"])[:2] == ["seed=1,2", "hydra/launcher=processes"]
    assert again(folder, [])[:3] == [
        "seed=1,2",
        "hydra/launcher=slurm",
        "hydra.launcher.parameters.slurm_partition=gpu",
    ]


def test_what_was_refused_for_its_size_may_be_forced(tmp_path):
    line = again(begun(tmp_path, "seed=1,2"), ["force=true"])
    assert "force=true" in line
    assert deciding(line) == ["seed=1,2"]


def test_jobs_may_not_change(tmp_path):
    with pytest.raises(UserError, match="seed=3 cannot change"):
        again(begun(tmp_path, "seed=1,2"), ["seed=3"])
