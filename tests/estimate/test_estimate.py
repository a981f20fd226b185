"""From a config to figures, a table and a refusal; what fits is looked at again at the size that was found."""

import re
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from manyheads import build
from manyheads.config.compose import compose
from manyheads.errors import UserError
from manyheads.estimate import estimate as module
from manyheads.estimate import machine
from manyheads.estimate.batches import extent, largest, resized
from manyheads.estimate.estimate import Estimator, device_of
from manyheads.estimate.foresee import foresee
from manyheads.estimate.show import refusal, size

CPU = torch.device("cpu")
SERIES = ("data=timeseries", "model.dim=16", "model.heads=2", "model.hidden=16", "model.layers=1", "trainer=cpu")
PAIRS = (
    "data.pairs=500",
    "data.vocabulary=300",
    "data.batch_tokens=1500",
    "model.dim=16",
    "model.heads=2",
    "trainer=cpu",
)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    cfg = compose([*PAIRS, "trainer.max_epochs=3", f"paths.cache={tmp_path_factory.mktemp('cache')}"])
    data = build.data(cfg)
    data.prepare_data()
    data.setup("fit")
    return cfg, data


def test_the_largest_batches_are_the_largest(pairs):
    _, data = pairs
    loader = data.train_dataloader()
    every = [loader.dataset[rows] for rows in loader.sampler]
    found = largest(loader, 1.0)
    assert max(batch.cells for batch in found) == max(batch.cells for batch in every)
    assert max(extent(batch)[1] for batch in found) == max(extent(batch)[1] for batch in every)
    first = largest(loader, 1)
    assert [batch.cells for batch in first] == [every[0].cells]


def test_a_run_has_as_many_steps_as_its_data_and_its_limits_say(pairs):
    cfg, data = pairs
    batches = len(data.train_dataloader())
    found = Estimator(cfg, data, CPU).estimate()
    assert found.steps == 3 * batches
    assert found.evaluations == 3 * len(data.val_dataloader())
    assert found.run_seconds > found.steps * found.step_seconds > 0
    assert found.peak >= found.training.held > found.evaluation.kinds["parameters"]


def test_the_largest_batch_fits_and_a_larger_one_does_not(pairs, monkeypatch):
    cfg, data = pairs
    room = 40 << 20
    monkeypatch.setattr(module, "memory", lambda device: room)
    estimator = Estimator(cfg, data, CPU)
    found = estimator.estimate()
    fit = estimator.fits(found)
    length = extent(found.batch)[1]
    rows = int(re.fullmatch(r"data.batch_tokens=(\d+)", fit.batch)[1]) // (2 * length)

    def held(rows: int, length: int) -> int:
        return estimator.imagination.training(resized(found.batch, rows, length)).held

    assert held(rows, length) <= 1.02 * room
    assert held(rows + max(1, rows // 20), length) > room
    longest = int(re.match(r"data.longest=(\d+)", fit.longest)[1])
    assert 0.9 * room < held(1, longest) < 1.1 * room


def test_what_cannot_fit_is_refused_in_one_sentence_with_a_setting(pairs, monkeypatch):
    cfg, data = pairs
    estimator = Estimator(cfg, data, CPU)
    room = estimator.estimate().peak * 3 // 4
    monkeypatch.setattr(module, "memory", lambda device: room)
    found = estimator.estimate()
    assert found.lacks
    sentence = refusal(found, estimator.fits(found))
    assert re.match(r"This run would need .*, and .* are free: set data.batch_tokens=\d+ .* force=true.$", sentence)
    assert "\n" not in sentence
    assert int(re.search(r"batch_tokens=(\d+)", sentence)[1]) < 1500


def test_series_have_a_batch_and_no_length(monkeypatch):
    cfg = compose([*SERIES])
    data = build.data(cfg)
    data.prepare_data()
    data.setup("fit")
    estimator = Estimator(cfg, data, device_of(cfg))
    fit = estimator.fits(estimator.estimate())
    assert re.fullmatch(r"data.batch=\d+", fit.batch)
    assert fit.longest is None


def test_a_second_model_and_shards_count(pairs):
    cfg, data = pairs
    plain = Estimator(cfg, data, CPU).estimate()
    other = cfg.copy()
    OmegaConf.set_struct(other, False)
    other.callbacks.ema = {"_target_": "lightning.pytorch.callbacks.EMAWeightAveraging", "decay": 0.9}
    other.trainer.devices, other.trainer.strategy = 2, "fsdp"
    found = Estimator(other, data, CPU).estimate()
    assert found.averaged == sum(p.numel() * 4 for p in build.model(cfg, data.spec).parameters())
    assert found.saved == sum(plain.training.kinds[k] for k in ("parameters", "gradients", "optimizer")) // 2


def test_sizes_are_written_as_one_reads_them():
    assert size(3 << 20) == "3.0 MiB"
    assert size(3 << 29) == "1.50 GiB"


class TestCommand:
    @pytest.fixture(autouse=True)
    def _commands(self, monkeypatch):
        monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "runs"))
        sys.modules.pop("command", None)

    def test_estimate_prints_a_table_and_leaves_no_run(self, tmp_path):
        import command

        done = command.train("estimate=true", folder=tmp_path / "run")
        assert done.returncode == 0, done.stdout + done.stderr
        for words in ("parameters", "optimizer state", "of attention", "the process holds", "fits", "yes"):
            assert words in done.stdout
        assert not [file.name for file in (tmp_path / "run").glob("*") if file.suffix in (".json", ".yaml")]
        assert not (tmp_path / "run" / "checkpoints").exists()

    def test_too_large_a_run_is_refused_before_it_begins_and_forced(self, tmp_path, monkeypatch):
        import command

        monkeypatch.setattr(module, "memory", lambda device: 1 << 20)
        done = command.train("trainer.max_steps=3", "test=false", folder=tmp_path / "run")
        assert "force=true" in command.refused(done)
        assert not (tmp_path / "run" / "checkpoints").exists()
        done = command.train("trainer.max_steps=3", "test=false", "force=true", folder=tmp_path / "forced")
        assert done.returncode == 0, done.stdout + done.stderr
        cost = command.metrics(tmp_path / "forced")["cost"]
        assert cost["predicted"]["peak_memory_bytes"] > cost["predicted"]["growth_bytes"] > 1 << 20
        assert all(seconds > 0 for seconds in cost["step_seconds"].values())
        assert list(cost["peak_memory_by_device"]) == ["rank 0, cpu"]
        assert cost["flops_per_token"] > 0
        assert (cost["energy_joules"] is None) == cost["energy_source"].startswith("none: ")


def test_a_run_whose_weights_alone_are_too_many_is_refused(pairs, monkeypatch):
    cfg, data = pairs
    monkeypatch.setattr(module, "memory", lambda device: 1000)
    with pytest.raises(UserError, match="take a smaller model or a machine with more memory"):
        foresee(cfg, data)


def test_pages_of_files_count_as_free(tmp_path, monkeypatch):
    for name, text in {
        "memory.max": "1000",
        "memory.current": "900",
        "memory.stat": "anon 300\ninactive_file 550",
    }.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(machine, "GROUP", tmp_path)
    assert machine._group() == [650]
    (tmp_path / "memory.max").write_text("max")
    assert machine._group() == []
