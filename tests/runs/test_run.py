"""What a run leaves behind, whatever ends it."""

import json
import re

import command
import pytest
import torch
import yaml
from cells import settings
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def test_folder_holds_what_others_rely_on(finished):
    for name in ("config.yaml", "overrides.yaml", "train.log", "environment.json", "tokenizer.json"):
        assert (finished / name).stat().st_size > 0, name
    for name in ("best", "last"):
        checkpoint = torch.load(finished / "checkpoints" / f"{name}.ckpt", weights_only=True)
        assert {"state_dict", "global_step", "manyheads"} <= set(checkpoint)
    assert "${" not in (finished / "config.yaml").read_text()
    assert not list(finished.rglob("*.partial"))


def test_metrics_are_whole(finished):
    found = command.metrics(finished)
    assert found["status"] == "finished"
    assert found["reason"] is None
    assert (found["data"], found["model"], found["attention"]) == ("translation", "encoder_decoder", "dense")
    assert found["attention_used"] == "sdpa"
    assert found["position"] == "rope"
    assert found["train"]["epochs"] == 2
    assert {"loss", "bleu", "chrf", "perplexity"} <= set(found["val"])
    assert {"bleu", "bleu_lowercase", "chrf", "loss", "test_compositional/bleu"} <= set(found["test"])
    assert {"test/copied/bleu", "test_compositional/copied/chrf"} <= set(found["baseline"])
    assert "tok:13a" in found["signatures"]["bleu"]


def test_cost_is_measured(finished):
    cost = command.metrics(finished)["cost"]
    model = torch.load(finished / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    unique = {value.data_ptr(): value.numel() for name, value in model.items() if name.startswith("model.")}
    assert cost["parameters"] == sum(unique.values())
    assert cost["train_seconds"] > 0
    assert cost["tokens_per_second"] > 0
    assert cost["peak_memory_bytes"] > 50e6
    # Forward and backward take three times two operations per weight that multiplies; the rest is attention and head.
    assert cost["flops_per_token"] > 2 * cost["parameters"]
    assert 0 < cost["mfu"] < 1
    assert cost["energy_joules"] is None


def test_predictions_are_the_scored_sentences(finished):
    rows = [json.loads(line) for line in (finished / "predictions.jsonl").read_text().splitlines()]
    assert {row["set"] for row in rows} == {"test", "test_compositional"}
    assert all(row["source"] and row["target"] for row in rows)


def test_tensorboard_has_curves_translations_and_hyperparameters(finished):
    (folder,) = (finished / "tensorboard").iterdir()
    assert folder.name == "dense-translation-seed1"
    events = EventAccumulator(str(folder)).Reload()
    scalars = set(events.Tags()["scalars"])
    assert {"train/loss", "train/loss_epoch", "val/loss", "val/bleu", "test/bleu", "cost/tokens_per_second"} <= scalars
    assert {"train/learning_rate", "cost/padding", "cost/memory_bytes", "final/test", "final/val"} <= scalars
    assert len(events.Scalars("val/loss")) == 2
    text = next(tag for tag in events.Tags()["tensors"] if tag.startswith("val/translations"))
    assert b"| source | target | translation |" in events.Tensors(text)[0].tensor_proto.string_val[0]
    assert events.PluginTagToContent("hparams")


def test_log_says_each_line_once(finished):
    lines = [line.partition(" INFO ")[2] for line in (finished / "train.log").read_text().splitlines()]
    told = [line for line in lines if line]
    assert len(told) == len(set(told)), told
    assert "litlogger" not in (finished / "train.log").read_text().lower()


def test_end_shows_scores_cost_and_the_next_commands(finished):
    screen = (finished / "stdout.txt").read_text()
    for word in ("BLEU", "chrF", "test_compositional", "tokens per second", "tensorboard --logdir", "predict.py run="):
        assert word in screen, word
    assert re.search(r"\d+ s left", screen)


@pytest.mark.slow
def test_same_seed_gives_the_same_run_and_another_seed_another(finished, tmp_path):
    assert command.train("trainer.max_epochs=2", folder=tmp_path / "same").returncode == 0
    same = command.metrics(tmp_path / "same")
    for part in ("train", "val", "test", "baseline", "weights"):
        assert same[part] == command.metrics(finished)[part]
    assert command.train("trainer.max_epochs=2", "seed=2", folder=tmp_path / "other").returncode == 0
    other = command.metrics(tmp_path / "other")
    assert other["val"]["loss"] != same["val"]["loss"]
    assert other["baseline"] == same["baseline"]


def test_training_that_fails_says_so_in_its_folder(tmp_path):
    done = command.train("position=learned", "position.limit=5", folder=tmp_path / "run")
    sentence = command.refused(done)
    found = command.metrics(tmp_path / "run")
    assert found["status"] == "failed"
    assert found["reason"] in sentence
    assert "position.limit=5" in sentence
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["position"]["limit"] == 5


def test_decoder_only_and_other_parts_compose_and_run(tmp_path):
    overrides = (
        "model=decoder_only",
        "model.layers=2",
        "attention=gqa",
        "attention.kv_heads=1",
        "position=alibi",
        "model/block=vaswani2017",
        "schedule=cosine",
        "callbacks=ema",
        "logger=csv",
        "data.workers=1",
        "trainer.max_steps=4",
        "trainer.accumulate_grad_batches=2",
    )
    tiny = [o for o in command.TINY if "coder_layers" not in o]
    done = command.run("train.py", *tiny, *overrides, f"hydra.run.dir={tmp_path / 'run'}", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = command.metrics(tmp_path / "run")
    assert (found["model"], found["attention"], found["position"]) == ("decoder_only", "gqa", "alibi")
    assert found["train"]["steps"] == 4


@pytest.mark.slow
def test_sweep_runs_each_setting_in_its_own_folder(tmp_path):
    arguments = ("attention=dense,gqa", "attention.kernel=reference", "trainer.max_steps=2")
    done = command.run(
        "train.py", "-m", *command.TINY, *arguments, f"hydra.sweep.dir={tmp_path / 'sweep'}", cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = {command.metrics(tmp_path / "sweep" / job)["attention"] for job in ("0", "1")}
    assert found == {"dense", "gqa"}
    assert command.metrics(tmp_path / "sweep" / "0")["attention_used"] == "reference"


def test_a_training_that_makes_things_worse_ends_with_what_it_started_from(tmp_path):
    """The closed-form forecast, which two steps far too long have spoilt."""
    folder = tmp_path / "run"
    asked = settings("timeseries", "encoder_only", "trainer=cpu", "optimizer.lr=1", "schedule.warmup=1")
    limits = ["trainer.max_steps=2", "trainer.val_check_interval=2", "trainer.limit_val_batches=2", "preflight=false"]
    start = ["data.quantiles=[]", "task.baselines=true", "trainer.limit_test_batches=null"]
    done = command.run("train.py", *asked, *limits, *start, f"hydra.run.dir={folder}", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = command.metrics(folder)
    assert found["weights"].startswith("start")
    assert found["test"]["mse"] == pytest.approx(found["baseline"]["test/linear/mse"], rel=0.05)
