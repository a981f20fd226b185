"""What TensorBoard is given is read back as TensorBoard reads it."""

import json
from pathlib import Path

import pytest
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams import api_pb2, metadata

from manyheads.config.compose import compose
from manyheads.training.board import LAYOUT, LONGEST, Board, title
from manyheads.training.hyperparameters import METRICS, SETTINGS, log_hyperparameters

CHOICES = {
    "data": "translation", "model": "encoder_decoder", "attention": "gqa", "position": "rope", "schedule": "cosine",
    "pruning": "l0",
}  # fmt: skip


def content(**changes) -> dict:
    known = {
        "status": "finished", "attention_used": "sdpa", "attention": "gqa", "data": "translation", "seed": 3,
        "train": {"steps": 20}, "val": {"bleu": 30.5, "loss": 2.0}, "test": {"bleu": 31.5, "loss": 1.9, "chrf": 50.0},
        "cost": {"parameters": 1000, "tokens_per_second": 5.0, "peak_memory_bytes": 7, "train_seconds": 2.5},
    }  # fmt: skip
    return known | changes


def run_folder(folder: Path, **changes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(content(**changes)))
    return folder


def board(folder: Path) -> Board:
    return Board(save_dir=str(folder), name="tensorboard")


def events(logger: TensorBoardLogger) -> EventAccumulator:
    return EventAccumulator(logger.log_dir).Reload()


def session(found: EventAccumulator) -> tuple:
    """Settings, and how it ended."""
    tags = found.PluginTagToContent("hparams")
    start = metadata.parse_session_start_info_plugin_data(tags[metadata.SESSION_START_INFO_TAG])
    end = metadata.parse_session_end_info_plugin_data(tags[metadata.SESSION_END_INFO_TAG])
    kinds = {name: value.WhichOneof("kind") for name, value in start.hparams.items()}
    return {name: getattr(value, kinds[name]) for name, value in start.hparams.items()}, end.status


def test_a_run_is_named_after_what_it_is(tmp_path):
    logger = board(run_folder(tmp_path / "run"))
    assert logger.log_dir == str(tmp_path / "run" / "tensorboard" / "gqa-translation-seed3")
    assert not (tmp_path / "run" / "tensorboard").exists(), "made with the first event"


def test_a_name_stays_short_and_ends_in_data_and_seed(tmp_path):
    name = title(run_folder(tmp_path, attention="+".join(["sliding_window"] * 12)))
    assert len(name) == LONGEST
    assert name.endswith("-translation-seed3")


def test_a_run_that_goes_on_writes_where_it_wrote(tmp_path):
    folder = run_folder(tmp_path)
    for step in (1, 2):
        logger = board(folder)
        logger.log_metrics({"val/loss": step}, step)
        logger.finalize("failed")
        # What is called otherwise later stays where its events are.
        run_folder(tmp_path, attention="renamed")
    assert [path.name for path in (folder / "tensorboard").iterdir()] == ["gqa-translation-seed3"]
    assert [point.step for point in events(logger).Scalars("val/loss")] == [1, 2]


def test_events_of_an_older_version_go_on_where_they_lie(tmp_path):
    folder = run_folder(tmp_path)
    old = TensorBoardLogger(save_dir=str(folder), name="tensorboard", version="", default_hp_metric=False)
    old.log_metrics({"val/loss": 1.0}, 1)
    old.finalize("success")
    logger = board(folder)
    logger.log_metrics({"val/loss": 2.0}, 2)
    logger.finalize("success")
    assert Path(logger.log_dir) == folder / "tensorboard"
    assert [point.value for point in events(logger).Scalars("val/loss")] == [1.0, 2.0]
    assert not [path for path in (folder / "tensorboard").iterdir() if path.is_dir()]


def test_where_nobody_knows_the_run_events_have_no_folder_of_their_own(tmp_path):
    assert Path(board(tmp_path).log_dir) == tmp_path / "tensorboard"


def test_charts_are_laid_out(tmp_path):
    logger = board(run_folder(tmp_path))
    logger.log_metrics({"val/loss": 1.0}, 1)
    logger.finalize("success")
    (tensor,) = events(logger).Tensors("custom_scalars__config__")
    layout = Layout.FromString(tensor.tensor_proto.string_val[0])
    assert [category.title for category in layout.category] == list(LAYOUT)
    tags = [tag for category in layout.category for chart in category.chart for tag in chart.multiline.tag]
    assert "val/loss" in " ".join(tags)


def logged(logger: TensorBoardLogger, found: dict, *overrides: str) -> EventAccumulator:
    cfg = compose(["attention=gqa", "attention.kv_heads=2", "pruning=l0", *overrides])
    log_hyperparameters([logger], cfg, CHOICES, found, 37)
    logger.finalize("success")
    return events(logger)


def test_settings_and_scores_are_those_of_the_run(tmp_path):
    found = logged(board(run_folder(tmp_path)), content())
    settings, status = session(found)
    assert set(settings) == set(SETTINGS)
    assert (settings["attention"], settings["attention_used"]) == ("gqa", "sdpa")
    assert (settings["heads"], settings["layers"]) == ("4/2", "2+2")
    assert (settings["length"], settings["parameters"]) == (37, 1000)
    assert settings["pruning"] == "l0"
    assert (settings["metric"], settings["seed"]) == ("bleu", 1)
    assert status == api_pb2.Status.Value("STATUS_SUCCESS")
    values = {tag: found.Scalars(tag)[-1].value for tag in found.Tags()["scalars"]}
    assert values["final/test"] == values["final/test_bleu"] == 31.5
    assert values["final/val"] == 30.5
    assert values["final/peak_memory_bytes"] == 7


def test_columns_are_the_same_whatever_the_run(tmp_path):
    """TensorBoard takes them from any one of the runs."""
    tables = []
    for name, overrides in {"a": (), "b": ("data=timeseries",)}.items():
        cfg = compose(list(overrides))
        logger = board(run_folder(tmp_path / name))
        log_hyperparameters([logger], cfg, CHOICES, content(), 1)
        logger.finalize("success")
        tags = events(logger).PluginTagToContent("hparams")
        tables.append(metadata.parse_experiment_plugin_data(tags[metadata.EXPERIMENT_TAG]))
    for table in tables:
        assert [info.name for info in table.hparam_infos] == list(SETTINGS)
        assert [info.name.tag for info in table.metric_infos] == list(METRICS)


def test_a_run_that_failed_is_there_with_what_it_has(tmp_path):
    failed = content(status="failed", test={}, val={}, train={}, cost={}, attention_used=None)
    found = logged(board(run_folder(tmp_path)), failed)
    settings, status = session(found)
    assert settings["status"] == "failed"
    assert settings["attention"] == "gqa"
    assert "attention_used" not in settings
    assert status == api_pb2.Status.Value("STATUS_FAILURE")
    assert not [tag for tag in found.Tags()["scalars"] if tag.startswith("final/")]


def test_a_run_that_failed_and_went_on_has_one_end(tmp_path):
    folder = run_folder(tmp_path)
    logged(board(folder), content(status="failed", attention_used=None))
    found = logged(board(folder), content())
    settings, status = session(found)
    assert status == api_pb2.Status.Value("STATUS_SUCCESS")
    assert settings["attention_used"] == "sdpa"


@pytest.mark.parametrize("old", [False, True])
def test_either_logger_takes_them(tmp_path, old):
    folder = run_folder(tmp_path)
    lightnings = TensorBoardLogger(save_dir=str(folder), name="tensorboard", version="", default_hp_metric=False)
    assert session(logged(lightnings if old else board(folder), content()))[0]["data"] == "translation"
