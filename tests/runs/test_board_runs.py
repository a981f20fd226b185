"""TensorBoard's events of whole runs: one that went on, and one that failed."""

from pathlib import Path

import command
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

pytestmark = pytest.mark.slow

SHORT = ("preflight=false", "test=false", "callbacks.attention_maps=null")


def settings(folder: Path) -> dict:
    (board,) = (folder / "tensorboard").iterdir()
    (_,) = board.glob("*.hparams")
    tags = EventAccumulator(str(board)).Reload().PluginTagToContent("hparams")
    return metadata.parse_session_start_info_plugin_data(tags[metadata.SESSION_START_INFO_TAG]).hparams


def test_a_run_that_goes_on_has_one_folder_and_one_end(tmp_path):
    folder = tmp_path / "run"
    assert command.train(*SHORT, "trainer.max_epochs=1", folder=folder).returncode == 0
    done = command.run("train.py", f"resume={folder}", "trainer.max_epochs=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (board,) = (folder / "tensorboard").iterdir()
    assert board.name == "dense-translation-seed1"
    assert len(EventAccumulator(str(board)).Reload().Scalars("val/loss")) == 2
    assert settings(folder)["attention_used"].string_value == "sdpa"


def test_a_run_that_failed_can_be_compared(tmp_path):
    done = command.train(
        *SHORT, "trainer.max_epochs=2", "optimizer.lr=1e30", "schedule.warmup=1", folder=tmp_path / "run"
    )
    command.refused(done)
    known = settings(tmp_path / "run")
    assert known["status"].string_value == "failed"
    assert known["lr"].number_value == 1e30
