"""Each planted fault is found, and named by the check that is about it; parts of the doctor, one at a time."""

import os
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pandas as pd
import pytest
import torch

from manyheads.attention.softmax import Softmax
from manyheads.config import refusals
from manyheads.data.base import TokenSpec
from manyheads.doctor import look, making, speed, typed
from manyheads.doctor.checks import Check, Findings
from manyheads.doctor.data import data_checks
from manyheads.doctor.environment import environment
from manyheads.doctor.kernels import kernels
from manyheads.doctor.making import make_task, read_data, ready
from manyheads.doctor.trainer import trainer_check
from manyheads.errors import UserError
from manyheads.estimate import estimate

SPEC = TokenSpec(
    kind="translation", longest=32, source_vocabulary=60, target_vocabulary=60, joint=True, pad=0, bos=1, eos=2, sep=4
)
TINY = ["model.dim=16", "model.heads=2", "model.hidden=16", "model.encoder_layers=1", "model.decoder_layers=1"]
SMALL = ["data.vocabulary=300", "trainer=cpu"]


def named(found: Findings, name: str) -> Check:
    """The worst check of that name."""
    order = ("red", "yellow", "green")
    return min((c for c in found.checks if c.name == name), key=lambda c: order.index(c.light))


# --- config --------------------------------------------------------------------------------------------------------


def test_a_typo_in_an_option_and_one_in_a_key_of_it_are_both_found():
    found = typed.read(["attention=slidingwindow", "attention.pattern.widht=3", "model.dim=16"])
    said = dict((override, sentence) for sentence, override in found.wrong)
    assert "no attention named slidingwindow. Did you mean sliding_window?" in said["attention=slidingwindow"]
    assert "Did you mean attention.pattern.width?" in said["attention.pattern.widht=3"]
    assert len(said) == 2
    assert found.cfg.model.dim == 16
    assert found.choices["attention"] == "sliding_window"


def test_values_that_no_class_takes_are_found_beside_keys_that_are_not_there():
    wrong = typed.read(["model.dmi=16", "optimizer.lr=abc", "+model.foo=3", "data.path=???", "seed=2"]).wrong
    said = dict((override, sentence) for sentence, override in wrong)
    assert "model.dim" in said["model.dmi=16"]
    assert "must be a number" in said["optimizer.lr=abc"]
    assert "model.foo is unknown" in said["+model.foo=3"]
    assert "data.path is not set" in said["data.path=???"]
    assert "seed=2" not in said


def test_what_is_said_of_a_group_that_nobody_knows_is_no_mistake_of_its_own():
    found = typed.read(["data=nothing_like_it", "data.no_such=1"])
    assert [override for _, override in found.wrong] == ["data=nothing_like_it"]


def test_a_command_without_a_mistake_has_none():
    found = typed.read(["attention=gqa", "position=alibi", "model.dim=32"])
    assert found.wrong == []
    assert found.cfg.model.dim == 32


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["model.heads=5"], "not divisible by model.heads=5"),
        (["model.head_dim=7", "position=rope"], "the head size must be even"),
        (["position=learned", "position.limit=16"], "more than position.limit=16"),
        (["attention=gqa", "attention.kv_heads=3"], "does not divide"),
        (["optimized_metric=val/blue"], "optimized_metric=val/blue is not measured"),
    ],
)
def test_sizes_that_do_not_fit_are_laid_on_what_made_them(overrides, sentence, tmp_path):
    task, _, wrong = make_task([*TINY[2:], *overrides], str(tmp_path), SPEC)
    assert task is not None, "the rest is looked at too"
    assert [said for said, _ in wrong if sentence in said]
    assert wrong[0][1] in overrides


def test_two_sizes_that_do_not_fit_are_both_told(tmp_path):
    _, _, wrong = make_task(["model.heads=5", "optimizer.betas=[2,3]"], str(tmp_path), SPEC)
    assert {override for _, override in wrong} == {"model.heads=5", "optimizer.betas=[2,3]"}


@pytest.mark.parametrize(
    ("override", "name", "sentence"),
    [
        ("callbacks.guard.on_fault=skipp", "callbacks.guard", "skip"),
        ("callbacks.attention_maps.documents=0", "callbacks.attention_maps", "documents"),
        ("trainer.strategy=nonsense", "trainer", "nonsense"),
    ],
)
def test_what_a_trainer_or_a_callback_refuses_is_named_by_its_part(override, name, sentence):
    sound, sick = Findings(), Findings()
    trainer_check(typed.composed(["trainer=cpu"])[0], sound)
    assert [check.light for check in sound.checks] == ["green"]
    trainer_check(typed.composed(["trainer=cpu", override])[0], sick)
    assert [(check.name, check.light) for check in sick.checks] == [(name, "red")]
    assert sentence in sick.checks[0].sentence


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("trainer.max_epochs=0", "trains nothing"),
        ("trainer.max_steps=0", "trains nothing"),
        ("ckpt_path=nowhere.ckpt", "nowhere.ckpt is not there"),
    ],
)
def test_runs_that_would_end_before_they_begin(override, sentence):
    cfg, _ = typed.composed(["trainer=cpu", override])
    assert [reason for reason in refusals.reasons(cfg, [override]) if sentence in reason]
    assert not refusals.reasons(typed.composed(["trainer=cpu"])[0], [])


@pytest.mark.parametrize("key", ["layers_attention=[dense,slidingwindow]", "cross_attention=slidingwindow"])
def test_a_layer_whose_attention_nobody_knows(key, tmp_path):
    with pytest.raises(UserError, match=r"names slidingwindow.*Did you mean sliding_window\?"):
        ready([key, *TINY], str(tmp_path))


# --- environment ---------------------------------------------------------------------------------------------------


def test_spinning_threads_half_precision_and_a_folder_that_is_none(tmp_path):
    (tmp_path / "file").write_text("")
    cfg, _ = typed.composed(["trainer=cpu", "trainer.precision=16-mixed", f"paths.outputs={tmp_path}/file/runs"])
    found = Findings()
    environment(cfg, found, waits="ACTIVE")
    assert named(found, "precision").light == "red"
    assert "bf16-mixed" in named(found, "precision").sentence
    assert named(found, "threads").light == "yellow"
    assert "OMP_WAIT_POLICY=ACTIVE" in named(found, "threads").sentence
    assert named(found, "disk").light == "red"
    assert "paths.outputs" in named(found, "disk").sentence
    assert named(found, "versions").light == "green"
    assert not list(tmp_path.glob("**/runs"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there():
    found = Findings()
    environment(typed.composed(["trainer=gpu"])[0], found, waits=None)
    assert named(found, "device").light == "red"
    assert "trainer=cpu" in named(found, "device").sentence


@pytest.mark.parametrize(("strict", "light"), [("false", "yellow"), ("true", "red")])
def test_a_kernel_that_cannot_run_here_falls_back_or_is_refused_with_its_reason(strict, light, tmp_path, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    task, cfg, _ = make_task(
        [*TINY, "attention=flash", f"attention.strict={strict}", "trainer=cpu"], str(tmp_path), SPEC
    )
    found = Findings()
    kernels(task.model, cfg, False, found)
    assert named(found, "kernel").light == light
    assert "flash" in named(found, "kernel").sentence
    assert "CUDA" in named(found, "kernel").sentence or "GPU" in named(found, "kernel").sentence


# --- model ---------------------------------------------------------------------------------------------------------


def test_a_model_that_sees_the_future_is_caught(tmp_path, monkeypatch):
    attend = Softmax.attend
    blind = lambda self, q, k, v, mask, bias=None: attend(self, q, k, v, replace(mask, causal=False), bias)  # noqa: E731
    monkeypatch.setattr(Softmax, "attend", blind)
    task, cfg, _ = make_task([*TINY, "trainer=cpu"], str(tmp_path), SPEC)
    found = Findings()
    look._trust(task, cfg, found)
    assert named(found, "future").light == "red"
    assert "later words" in named(found, "future").sentence or "decoder" in named(found, "future").sentence


# --- data ----------------------------------------------------------------------------------------------------------


def checked(*overrides: str, folder: Path) -> tuple[Findings, list[str]]:
    """What is said of the data, and what kept it from being read."""
    cache, asked = str(folder / "cache"), ["trainer=cpu", *overrides]
    if "data=timeseries" not in overrides:
        asked.append("data.vocabulary=300")
    cfg = ready(asked, cache)
    with mock.patch.object(making, "_own", side_effect=UserError("nothing stands in")):
        given = read_data(cfg, asked, cache)
    found = Findings()
    if not given.borrowed:
        data_checks(given.data, cfg, found)
    return found, given.wrong


def pairs(folder: Path, **splits: list[tuple[str, str]]) -> str:
    folder = folder / "pairs"
    folder.mkdir()
    for name, rows in splits.items():
        pd.DataFrame(rows, columns=["en", "de"]).to_csv(folder / f"{name}.csv", index=False)
    return f"data.path={folder}"


def some(begin: int, end: int) -> list[tuple[str, str]]:
    return [(f"word number {n} stands here", f"hier steht wort {n}") for n in range(begin, end)]


def test_a_path_that_is_not_there_and_what_would_be_read_instead(tmp_path):
    found, wrong = checked(f"data.path={tmp_path}/nowhere", folder=tmp_path)
    assert "there is no such file or folder" in wrong[0]
    assert found.checks == []


def test_a_column_that_is_not_there(tmp_path):
    place = pairs(tmp_path, train=some(0, 30))
    _, wrong = checked(place, "data.source=fr", folder=tmp_path)
    assert "fr" in wrong[0]
    assert "en" in wrong[0]


def test_rows_of_training_that_are_tested_on(tmp_path):
    place = pairs(tmp_path, train=some(0, 60), val=some(60, 90), test=some(40, 80))
    found, wrong = checked(place, folder=tmp_path)
    assert wrong == []
    assert named(found, "duplicates across splits").light == "red"
    assert "20 of 40 pairs of test" in named(found, "duplicates across splits").sentence


def test_empty_rows_are_told_and_the_others_are_read(tmp_path):
    place = pairs(tmp_path, train=[*some(0, 30), ("", "leer"), ("empty", "")], val=some(60, 90), test=some(90, 120))
    found, wrong = checked(place, folder=tmp_path)
    assert "is empty" in wrong[0] or "is missing" in wrong[0]
    assert "2 such rows" in wrong[0]
    assert named(found, "rows").details["rows"]["train"] == 30


def documents(folder: Path, labels: list[str], words: int = 20) -> list[str]:
    rows = [(" ".join(f"w{n * 31 + i * 7}" for i in range(words)), label) for n, label in enumerate(labels)]
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(folder / "notes.csv", index=False)
    return ["data=clinical_long", f"data.path={folder / 'notes.csv'}"]


def test_one_label_alone(tmp_path):
    _, wrong = checked(*documents(tmp_path, ["yes"] * 60), folder=tmp_path)
    assert "too few labels to tell apart (yes)" in wrong[0]


def test_a_label_that_is_nearly_everywhere(tmp_path):
    labels = ["yes" if n % 30 else "no" for n in range(300)]
    found, _ = checked(*documents(tmp_path, labels), "data.on_bad_row=skip", folder=tmp_path)
    assert named(found, "labels").light in ("yellow", "red")
    assert "yes is on 9" in named(found, "labels").sentence
    assert named(found, "truncation").light == "green"


def test_documents_that_lose_most_of_their_words(tmp_path):
    place = documents(tmp_path, ["yes", "no"] * 40, words=200)
    found, _ = checked(*place, "data.read=whole", "data.longest=30", folder=tmp_path)
    assert named(found, "truncation").light == "red"
    assert "100% of the documents lose their end" in named(found, "truncation").sentence


def test_copies_that_the_data_leaves_out_are_counted(tmp_path):
    rows = [(f"text of number {n % 60}", "yes" if n % 2 else "no", "train" if n < 60 else "test") for n in range(80)]
    rows += [(f"other {n}", "yes" if n % 2 else "no", "val") for n in range(20)]
    pd.DataFrame(rows, columns=["text", "label", "split"]).to_csv(tmp_path / "notes.csv", index=False)
    place = ["data=clinical_long", f"data.path={tmp_path / 'notes.csv'}", "data.split=split"]
    found, _ = checked(*place, folder=tmp_path)
    said = named(found, "duplicates across splits")
    assert said.light == "yellow"
    assert "20 of 20 documents of test" in said.sentence
    assert "on_duplicate=drop" in said.sentence


def test_rows_that_are_the_same_but_for_case_and_white_space(tmp_path):
    loud = [(source.upper(), target.replace(" ", "  ")) for source, target in some(0, 5)]
    place = pairs(tmp_path, train=some(0, 60), val=some(60, 90), test=[*some(90, 115), *loud])
    found, _ = checked(place, folder=tmp_path)
    assert named(found, "duplicates across splits").light == "green"
    assert named(found, "near duplicates").light == "red"
    assert "5 of 30 pairs of test" in named(found, "near duplicates").sentence


def test_documents_that_are_the_same_but_for_case_and_white_space(tmp_path):
    rows = [(f"text of number {n}", "yes" if n % 2 else "no", "train") for n in range(300)]
    rows += [(f"Text  of number {n}", "yes" if n % 2 else "no", "test") for n in range(2)]
    rows += [(f"other {n}", "yes" if n % 2 else "no", ("val", "test")[n % 2]) for n in range(600)]
    pd.DataFrame(rows, columns=["text", "label", "split"]).to_csv(tmp_path / "notes.csv", index=False)
    place = ["data=clinical_long", f"data.path={tmp_path / 'notes.csv'}", "data.split=split"]
    found, _ = checked(*place, folder=tmp_path)
    assert named(found, "duplicates across splits").light == "green"
    assert named(found, "near duplicates").light == "yellow"
    assert "2 of 302 documents of test" in named(found, "near duplicates").sentence


def test_values_that_are_missing_and_a_channel_that_never_moves(tmp_path):
    table = pd.DataFrame({"a": [float(n % 7) for n in range(400)], "b": 1.0})
    table["c"] = [None if n % 3 else float(n) for n in range(400)]
    table.to_csv(tmp_path / "series.csv", index=False)
    sizes = ["data.history=32", "data.horizon=8", "data.patch=8", "data.stride=8", "data.date=none"]
    found, wrong = checked("data=timeseries", f"data.path={tmp_path / 'series.csv'}", *sizes, folder=tmp_path)
    assert wrong == []
    assert named(found, "missing values").light == "yellow"
    assert "of c 6" in named(found, "missing values").sentence
    assert named(found, "constant channels").sentence.startswith("b never changes")


# --- memory --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_too_little_memory_is_red_and_says_what_fits(tmp_path, monkeypatch):
    overrides = [*TINY, *SMALL, "data.pairs=500"]
    cfg = ready(overrides, str(tmp_path))
    given = read_data(cfg, overrides, str(tmp_path))
    monkeypatch.setattr(estimate, "memory", lambda device: 1 << 20)
    found = Findings()
    speed.memory(given.data, cfg, found)
    assert named(found, "memory").light == "red"
    assert "data.batch_tokens" in named(found, "memory").sentence or "smaller model" in named(found, "memory").sentence


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_may_not_be_written(tmp_path):
    (tmp_path / "runs").mkdir(mode=0o500)
    cfg, _ = typed.composed([f"paths.outputs={tmp_path}/runs"])
    found = Findings()
    environment(cfg, found, waits=None)
    assert named(found, "disk").light == "red"
