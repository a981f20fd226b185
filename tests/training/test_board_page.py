"""TensorBoard itself on a few runs: its tables have their settings and scores, its pages load."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from test_board import CHOICES, board, content, run_folder

from browser import browser
from manyheads.config.compose import compose
from manyheads.training.hyperparameters import WATCHED, log_hyperparameters

pytestmark = pytest.mark.slow

ATTENTIONS = ("dense", "gqa", "linear")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Of a server over three attentions, two seeds each, and one run that failed."""
    outputs = tmp_path_factory.mktemp("outputs")
    for number, attention in enumerate(ATTENTIONS):
        for seed in (1, 2):
            plant(outputs / f"multirun/now/{2 * number + seed}", attention, seed, "finished")
    plant(outputs / "multirun/now/9", "sigmoid", 1, "failed")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(outputs), "--port", str(port), "--bind_all"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield wait(f"http://127.0.0.1:{port}")
    finally:
        server.terminate()
        server.wait(30)


def plant(folder: Path, attention: str, seed: int, status: str) -> None:
    known = content(attention=attention, seed=seed, status=status, attention_used="sdpa")
    if status == "failed":
        known |= {"test": {}, "val": {}}
    logger = board(run_folder(folder, attention=attention, seed=seed))
    for step in range(5):
        logger.log_metrics({"val/loss": 2 / (step + seed), "cost/memory_bytes": 1e8 + step}, step)
    figure = Figure(figsize=(2, 2))
    figure.subplots().plot([1, 2, seed])
    logger.experiment.add_figure("attention/encoder.0", figure, 4)
    logger.experiment.add_text("val/translations", "| source | target |\n|---|---|\n| a | b |", 4)
    cfg = compose([f"seed={seed}"])
    log_hyperparameters([logger], cfg, CHOICES | {"attention": attention}, known, 37)
    logger.finalize("success")


def wait(address: str) -> str:
    """Until it answers, and has read all runs."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            if len(asked(f"{address}/data/runs")) == 7:
                return address
        except OSError:
            pass
        time.sleep(0.5)
    raise AssertionError("TensorBoard has not read the runs")


def asked(address: str, **given) -> dict:
    body = json.dumps(given).encode() if given else None
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def test_runs_have_readable_names(address):
    names = asked(f"{address}/data/runs")
    assert {name.rpartition("/")[2] for name in names} >= {"dense-translation-seed1", "sigmoid-translation-seed1"}


def test_settings_and_scores_stand_side_by_side(address):
    hparams = f"{address}/data/plugin/hparams"
    known = asked(f"{hparams}/experiment", experimentName="")
    assert {info["name"] for info in known["hparamInfos"]} >= {
        "attention",
        "attention_used",
        "seed",
        "lr",
        "parameters",
    }
    assert [info["name"] for info in known["hparamInfos"][:5]] == sorted(WATCHED), "shown at first"
    wanted = [{"hparam": info["name"]} for info in known["hparamInfos"]]
    wanted += [{"metric": info["name"]} for info in known["metricInfos"]]
    statuses = ["STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING", "STATUS_UNKNOWN"]
    page = {"allowedStatuses": statuses, "colParams": wanted, "startIndex": 0, "sliceSize": 100}
    groups = asked(f"{hparams}/session_groups", **page)["sessionGroups"]
    assert sorted(group["hparams"]["attention"] for group in groups) == [
        *["dense"] * 2, *["gqa"] * 2, *["linear"] * 2, "sigmoid",
    ]  # fmt: skip
    scored = {
        group["hparams"]["attention"]: {value["name"]["tag"]: value["value"] for value in group["metricValues"]}
        for group in groups
    }
    assert scored["gqa"]["final/test"] == 31.5
    assert scored["gqa"]["final/tokens_per_second"] == 5.0
    assert "final/test" not in scored["sigmoid"]


def test_images_texts_and_charts_are_there(address):
    images = asked(f"{address}/data/plugin/images/tags")
    assert len(images) == 7
    assert all("attention/encoder.0" in tags for tags in images.values())
    texts = asked(f"{address}/data/plugin/text/tags")
    assert any("translations" in tag for tags in texts.values() for tag in tags)
    layout = asked(f"{address}/data/plugin/custom_scalars/layout")
    assert {category["title"] for category in layout["category"]} == {"quality", "training", "cost", "pruning"}


@pytest.mark.parametrize("tab", ["hparams", "images", "timeseries", "custom_scalars"])
def test_pages_load(address, tab, tmp_path):
    with browser(1600, 1000) as page:
        page.open(f"{address}/#{tab}")
        page.wait("document.querySelector('tb-webapp, tf-tensorboard') !== null", 60)
        time.sleep(5)
        picture = page.picture(tmp_path / f"{tab}.png")
        assert picture.stat().st_size > 10_000
        mine = [error for error in page.errors() if "fonts.g" not in error]
        assert not mine, mine
