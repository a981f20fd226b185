"""What TensorBoard compares runs by, in its tab HParams: a dozen settings that matter, and final scores.

TensorBoard takes the columns from any one of the runs, so each run names those of all families. They are in an event
file of their own: where a run wrote twice, since it failed and then went on, TensorBoard would keep what came first.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger
from omegaconf import DictConfig
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from torch.utils.tensorboard import SummaryWriter

from manyheads.training.table import COLUMNS

SUFFIX = ".hparams"
"""How the name of that event file ends."""

SETTINGS = {
    "data": str, "model": str, "attention": str, "attention_used": str, "position": str, "seed": float, "dim": float,
    "heads": str, "layers": str, "length": float, "batch": float, "lr": float, "schedule": str, "dropout": float,
    "precision": str, "parameters": float, "pruning": str, "metric": str, "status": str,
}  # fmt: skip
"""Columns, in their order, and whether they are sorted as numbers. metric: what `final/test` and `final/val` are,
which runs of one family share.
"""

WATCHED = ("attention", "attention_used", "position", "seed", "lr")
"""The five columns that TensorBoard shows at first: it puts in front what is said to differ."""

SCORES = (
    "loss",
    "bleu",
    "chrf",
    "accuracy",
    "recognised",
    "f1_macro",
    "f1_micro",
    "mse",
    "mae",
    "bits_per_byte",
    "perplexity",
)
"""Those of the test sets that have columns of their own, of all families."""

COST = ("tokens_per_second", "peak_memory_bytes", "train_seconds")
METRICS = ("final/test", "final/val", *(f"final/{name}" for name in COST), *(f"final/test_{name}" for name in SCORES))
STATUS = {"finished": "STATUS_SUCCESS", "running": "STATUS_RUNNING"}


def log_hyperparameters(
    loggers: list[Logger], cfg: DictConfig, choices: dict[str, str], content: dict[str, Any], length: int | None
) -> None:
    """content: of metrics.json, also of a run that failed. length: of the longest row of the data, where it is known.

    Scores have names of their own: under the curves' they would be one more point of these.
    """
    metric = _headline(content)
    found = _settings(cfg, choices, content, length) | {"metric": metric, "status": content["status"]}
    scores = _scores(content, metric)
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.log_metrics(scores, (content["train"] or {}).get("steps", 0))
            logger.experiment.flush()
            _write(Path(logger.log_dir), found, content["status"])


def _settings(
    cfg: DictConfig, choices: dict[str, str], content: dict[str, Any], length: int | None
) -> dict[str, str | float | None]:
    model, data = cfg.model, cfg.data
    return {
        **{group: choices.get(group) for group in ("data", "model", "attention", "position", "schedule")},
        "attention_used": content["attention_used"],
        "seed": cfg.seed,
        "dim": model.get("dim"),
        "heads": _heads(cfg),
        "layers": "+".join(str(model[key]) for key in ("layers", "encoder_layers", "decoder_layers") if key in model),
        "length": length,
        "batch": data.get("batch_tokens", data.get("batch")),
        "lr": cfg.optimizer.get("lr"),
        "dropout": model.get("dropout"),
        "precision": str(cfg.trainer.precision),
        "pruning": "none" if cfg.pruning is None else choices.get("pruning"),
        "parameters": (content["cost"] or {}).get("parameters"),
    }


def _heads(cfg: DictConfig) -> str | None:
    """8, or 8/2 where two key-value heads serve eight of queries."""
    heads, shared = cfg.model.get("heads"), cfg.attention.get("kv_heads")
    return None if heads is None else str(heads) if shared in (None, heads) else f"{heads}/{shared}"


def _headline(content: dict[str, Any]) -> str | None:
    """The first of the metrics that runs are compared by."""
    known = (content["test"] or {}) | (content["val"] or {})
    return next((name for name in COLUMNS if name in known), None)


def _scores(content: dict[str, Any], metric: str | None) -> dict[str, float]:
    """Of a run that failed, what there is."""
    test, cost = content["test"] or {}, content["cost"] or {}
    found = {"final/test": test.get(metric), "final/val": (content["val"] or {}).get(metric)}
    found |= {f"final/{name}": cost.get(name) for name in COST}
    found |= {f"final/test_{name}": test.get(name) for name in SCORES}
    return {name: float(value) for name, value in found.items() if value is not None}


# --- what TensorBoard reads ----------------------------------------------------------------------------------------


def _write(folder: Path, found: dict[str, str | float | None], status: str) -> None:
    """In place of what an earlier end of the same run wrote."""
    earlier = list(folder.glob(f"events.out.tfevents.*{SUFFIX}"))
    writer = SummaryWriter(str(folder), filename_suffix=SUFFIX)
    for summary in _summaries(found, status):
        writer._get_file_writer().add_summary(summary)
    writer.close()
    for path in earlier:
        path.unlink(missing_ok=True)


def _summaries(found: dict[str, str | float | None], status: str) -> Iterator[Summary]:
    """What can be compared, what this run has of it, and how it ended."""
    infos = [api_pb2.HParamInfo(name=name, type=_type(name), differs=name in WATCHED) for name in SETTINGS]
    metrics = [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=name), display_name=_shown(name)) for name in METRICS]
    experiment = api_pb2.Experiment(hparam_infos=infos, metric_infos=metrics)
    yield _summary(metadata.EXPERIMENT_TAG, HParamsPluginData(experiment=experiment))
    start = SessionStartInfo()
    for name, value in found.items():
        if isinstance(value, int | float):
            start.hparams[name].number_value = value
        elif value is not None:
            start.hparams[name].string_value = str(value)
    yield _summary(metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=start))
    end = SessionEndInfo(status=api_pb2.Status.Value(STATUS.get(status, "STATUS_FAILURE")))
    yield _summary(metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=end))


def _type(name: str) -> int:
    return api_pb2.DATA_TYPE_FLOAT64 if SETTINGS[name] is float else api_pb2.DATA_TYPE_STRING


def _shown(metric: str) -> str:
    return metric.removeprefix("final/").replace("_", " ")


def _summary(tag: str, content: HParamsPluginData) -> Summary:
    about = metadata.create_summary_metadata(content)
    return Summary(value=[Summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)])
