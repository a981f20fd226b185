"""The task of labelling documents, with a model and data so small that every number can be checked by hand."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from lightning import LightningDataModule
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from manyheads.config.compose import compose
from manyheads.config.objects import instantiate
from manyheads.data.base import DocumentSpec
from manyheads.data.documents.batch import DocumentBatch
from manyheads.model.aggregate import Reading
from manyheads.task import document_scores
from manyheads.task.classification import ClassificationTask, label_weights, verdicts
from manyheads.task.document_baselines import BEGINNING, beginnings, labelled
from manyheads.training import collectives

LABELS = ("cold", "cough", "rash")
CHUNKS = (1, 4, 2, 5, 3, 1)  # of the documents of every split
TEXT = "the patient had {} and was seen on the ward in {} by a doctor. "


class Model(nn.Module):
    """A chunk's scores are a row of a table, by its second token; a document's are their mean by weights."""

    def __init__(self, labels=3):
        super().__init__()
        self.table = nn.Embedding(20, labels)

    def forward(self, batch):
        scores = self.table(batch.ids[:, 1])
        weights = 1.0 + batch.place
        weights = weights / torch.zeros(len(batch)).index_add(0, batch.document, weights)[batch.document]
        document = torch.zeros(len(batch), scores.shape[1]).index_add(0, batch.document, weights[:, None] * scores)
        return Reading(document, scores, weights)


class Words:
    """Tokens are what stands between spaces."""

    def trace(self, texts):
        for text in texts:
            ends = [n for n, c in enumerate(text + " ") if c == " "]
            begins = [0, *(end + 1 for end in ends[:-1])]
            yield type("Tokens", (), {"characters": np.array(list(zip(begins, ends, strict=True))), "ids": begins})


class Sets(LightningDataModule):
    """Test sets alone."""

    tokenizer = Words()

    def __init__(self, multilabel=False, sets=("test",)):
        super().__init__()
        self.multilabel, self.test_names = multilabel, list(sets)

    def texts(self, split):
        return [TEXT.format(LABELS[n % 3], n) for n in range(6)]

    def question(self, split):
        return None

    def targets(self, split):
        classes = np.array([0, 1, 2, 0, 1, 2])
        return np.eye(3, dtype=int)[classes] | np.eye(3, dtype=int)[classes[::-1]] if self.multilabel else classes

    def names(self, split):
        return [f"{split}-{n}" for n in range(6)]

    def spans(self, split):
        return [[(10 * place, 10 * place + 12) for place in range(count)] for count in CHUNKS]

    def batch(self, rows):
        counts = [CHUNKS[row] for row in rows]
        place = [n for count in counts for n in range(count)]
        document = torch.arange(len(rows)).repeat_interleave(torch.tensor(counts))
        ids = torch.tensor([[1, 3 * rows[d] + min(p, 2), 2] for d, p in zip(document.tolist(), place, strict=True)])
        targets = torch.from_numpy(self.targets("train")[list(rows)])
        return DocumentBatch(
            index=torch.tensor(rows), tokens=ids.numel(), ids=ids, lengths=torch.full((len(ids),), 3),
            document=document, place=torch.tensor(place), labels=targets.float() if self.multilabel else targets,
        )  # fmt: skip

    def loader(self):
        return DataLoader([self.batch([4, 0]), self.batch([1, 2, 5]), self.batch([3])], batch_size=None)

    def test_dataloader(self):
        return [self.loader() for _ in self.test_names]


class Data(Sets):
    def train_dataloader(self):
        return self.loader()

    def val_dataloader(self):
        return self.loader()


def made(multilabel=False, labels=LABELS, **keys):
    spec = DocumentSpec(
        kind="clinical_long", longest=3, source_vocabulary=20, target_vocabulary=20, joint=True, pad=0, bos=1, eos=2,
        sep=3, labels=labels, multilabel=multilabel, pool="mean", aggregate="mean", layers=1, most=5,
        bag_of_words=False, word_dropout=0.0,
    )  # fmt: skip
    given = {"monitor": "val/f1_macro", "mode": "max", "smoothing": 0.0, "balance": "none", "baselines": False, **keys}
    schedule = partial(torch.optim.lr_scheduler.ConstantLR, factor=1.0)
    return ClassificationTask(
        Model(len(labels)), spec, partial(torch.optim.Adam, lr=0.05), lambda o, total: schedule(o), **given
    )


def trainer(folder, **keys):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    return Trainer(accelerator="cpu", default_root_dir=folder, **{"logger": False, "max_epochs": 1, **quiet, **keys})


def tried(folder, task, data):
    """What the test logs, and its predictions."""
    running = trainer(folder)
    running.test(task, datamodule=data, verbose=False)
    logged = {name: float(value) for name, value in running.callback_metrics.items()}
    return logged, [json.loads(row) for row in (folder / "predictions.jsonl").read_text("utf-8").splitlines()]


def slow_scores(task, data):
    """Logits of every document, one by one."""
    with torch.no_grad():
        return torch.cat([task.model(data.batch([row])).scores for row in range(6)])


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("balance", ["none", "sqrt_inverse"])
def test_the_loss_of_one_label_is_its_definition(smoothing, balance):
    task, data = made(smoothing=smoothing, balance=balance), Data()
    if balance != "none":
        task.weight.copy_(torch.tensor([0.5, 1.0, 3.0]))
    result = task.step(data.batch([3, 1, 2]))
    logs = slow_scores(task, data)[[3, 1, 2]].log_softmax(-1)
    slow = []
    for log, label in zip(logs, [0, 1, 2], strict=True):
        aims = torch.full((3,), smoothing / 3)
        aims[label] += 1 - smoothing
        slow.append(-(aims * log).sum() * task.weight[label])
    assert result.loss.item() == pytest.approx(torch.stack(slow).mean().item(), rel=1e-5)
    assert result.count == 3


def test_the_loss_of_several_labels_is_their_definition():
    task, data = made(multilabel=True, smoothing=0.2), Data(multilabel=True)
    task.weight.copy_(torch.tensor([0.5, 1.0, 3.0]))
    result = task.step(data.batch([3, 1]))
    shares, aims = slow_scores(task, data)[[3, 1]].sigmoid(), torch.tensor(data.targets("train")[[3, 1]]) * 0.8 + 0.1
    slow = -(task.weight * aims * shares.log() + (1 - aims) * (1 - shares).log()).mean()
    assert result.loss.item() == pytest.approx(slow.item(), rel=1e-5)


@pytest.mark.parametrize("multilabel", [False, True])
def test_ways_of_their_own_are_taught_each_for_itself(multilabel, monkeypatch):
    task, batch = made(multilabel), Data(multilabel).batch([3, 1, 2])
    one, other = torch.randn(3, 3), torch.randn(3, 3)
    own, losses = Reading((one + other) / 2, one, one[:, 0], (one, other)), []
    for scores in (one, other):
        monkeypatch.setattr(task.model, "forward", lambda _, scores=scores: Reading(scores, scores, scores[:, 0]))
        losses.append(task.step(batch).loss)
    monkeypatch.setattr(task.model, "forward", lambda _: own)
    found = task.step(batch)
    assert found.loss.item() == pytest.approx(sum(losses).item() / 2)
    right = task._judge(own.scores, batch.labels).means["accuracy"]
    assert found.means["accuracy"] == right


@pytest.mark.parametrize("multilabel", [False, True])
def test_scores_are_those_of_documents_and_not_of_chunks(multilabel, tmp_path):
    task, data = made(multilabel), Data(multilabel)
    logged, rows = tried(tmp_path, task, data)
    logits = slow_scores(task, data)
    found = document_scores.probabilities(logits, multilabel).numpy()
    expected = document_scores.scores(found, data.targets("test"))
    assert {name: logged[f"test/{name}"] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert logged["test/loss"] == pytest.approx(expected["nll"], rel=1e-5)
    assert [row["document"] for row in rows] == [f"test-{n}" for n in range(6)]


def test_predictions_say_the_label_and_which_chunks_spoke(tmp_path):
    task, data = made(), Data()
    _, rows = tried(tmp_path, task, data)
    shares = slow_scores(task, data).softmax(-1)
    for n, row in enumerate(rows):
        assert row["set"] == "test"
        assert row["truth"] == LABELS[n % 3]
        assert row["label"] == LABELS[int(shares[n].argmax())]
        assert list(row["probabilities"].values()) == pytest.approx(shares[n].tolist(), abs=1e-5)
        assert [chunk["chunk"] for chunk in row["chunks"]] == list(range(CHUNKS[n]))[::-1][:3]
        total = sum(range(1, CHUNKS[n] + 1))
        for chunk in row["chunks"]:
            assert chunk["weight"] == pytest.approx((chunk["chunk"] + 1) / total, abs=1e-5)
            assert (chunk["begin"], chunk["end"]) == (10 * chunk["chunk"], 10 * chunk["chunk"] + 12)


def test_predictions_of_several_labels_are_lists(tmp_path):
    _, rows = tried(tmp_path, made(multilabel=True), Data(multilabel=True))
    assert rows[0]["truth"] == ["cold", "rash"]
    assert all(row["label"] == [name for name, p in row["probabilities"].items() if p > 0.5] for row in rows)


def test_each_set_has_its_scores_and_the_first_speaks_for_the_run(tmp_path):
    logged, rows = tried(tmp_path, made(), Data(sets=("test_a", "test_b")))
    assert logged["test/f1_macro"] == logged["test_a/f1_macro"] == logged["test_b/f1_macro"]
    assert logged["test/loss"] == logged["test_a/loss"]
    assert [row["set"] for row in rows] == ["test_a"] * 6 + ["test_b"] * 6
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {f"test_{n}_{figure}.png" for n in "ab" for figure in ("confusion", "reliability")}


def test_no_document_counts_twice(monkeypatch, tmp_path):
    """Where ranks read the same document, as when rows are shared out unevenly."""
    task, data = made(), Data()
    logged, _ = tried(tmp_path, task, data)
    mine, theirs = (verdict_of(task, data, rows) for rows in ([4, 0, 5], [1, 5, 2, 3]))

    def gather(parts, own):
        parts[0], parts[1] = own, theirs

    for name, value in {
        "is_initialized": lambda: True,
        "get_world_size": lambda: 2,
        "all_gather_object": gather,
    }.items():
        monkeypatch.setattr(collectives.dist, name, value)
    rows, probabilities, targets = task._compared("test", collectives.gathered(mine))
    assert rows == [0, 1, 2, 3, 4, 5]
    found = document_scores.scores(probabilities, targets)
    assert found == pytest.approx({name: logged[f"test/{name}"] for name in found}, abs=1e-6)


@torch.no_grad()
def verdict_of(task, data, rows):
    batch = data.batch(rows)
    return verdicts(batch, task.model(batch))


def test_a_verdict_is_the_same_in_whatever_batch_a_document_is_read():
    task, data = made(), Data()
    together, alone = verdict_of(task, data, [3, 1, 4]), verdict_of(task, data, [1])
    assert np.allclose(together[1].chunks, alone[1].chunks)
    torch.testing.assert_close(together[1].logits, alone[1].logits)


def test_the_threshold_comes_from_validation_and_stays_with_the_weights(tmp_path):
    task, data = made(multilabel=True), Data(multilabel=True)
    with torch.no_grad():
        task.model.table.weight.sub_(3.0)  # nothing reaches one half
    trainer(tmp_path).validate(task, datamodule=data, verbose=False)
    found = document_scores.probabilities(slow_scores(task, data), True).numpy()
    assert float(task.threshold) == document_scores.threshold(found, data.targets("val")) < 0.5
    again = made(multilabel=True)
    again.load_state_dict(task.state_dict())
    logged, _ = tried(tmp_path, again, data)
    assert logged["test/threshold"] == pytest.approx(float(task.threshold))
    assert logged["test/f1_micro"] == 0
    assert logged["test/f1_micro_tuned"] > 0.5


def test_a_test_never_moves_the_threshold(tmp_path):
    task, data = made(multilabel=True), Data(multilabel=True)
    logged, _ = tried(tmp_path, task, data)
    assert float(task.threshold) == 0.5
    assert logged["test/f1_micro_tuned"] == logged["test/f1_micro"]


def test_one_label_needs_no_threshold(tmp_path):
    logged, _ = tried(tmp_path, made(), Data())
    assert not [name for name in logged if "threshold" in name or "tuned" in name]


@pytest.mark.parametrize("multilabel", [False, True])
def test_it_learns_and_measures_what_may_be_monitored(multilabel, tmp_path):
    task, logger = made(multilabel, balance="sqrt_inverse"), TensorBoardLogger(tmp_path)
    running = trainer(tmp_path, max_epochs=30, logger=logger, check_val_every_n_epoch=15, log_every_n_steps=1)
    running.fit(task, datamodule=Data(multilabel))
    assert set(ClassificationTask.metrics) <= set(running.callback_metrics)
    assert running.callback_metrics["val/accuracy"] == 1
    assert {"train/loss_epoch", "train/accuracy"} <= set(running.callback_metrics)
    tags = logger.experiment  # a figure for each validation
    tags.flush()
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("events.out.tfevents*"))
    assert (b"val/labels" if multilabel else b"val/confusion") in written


def test_what_diverged_is_no_number(tmp_path):
    task = made()
    nn.init.constant_(task.model.table.weight, float("nan"))
    running = trainer(tmp_path)
    running.validate(task, datamodule=Data(), verbose=False)
    assert np.isnan(float(running.callback_metrics["val/f1_macro"]))
    assert not (tmp_path / "figures").exists()


def test_weights_of_rare_labels_grow_with_the_root_and_end_at_ten():
    assert label_weights(np.array([0] * 8 + [1] * 2), 2).tolist() == pytest.approx([(5 / 8) ** 0.5, (5 / 2) ** 0.5])
    assert label_weights(np.array([0] * 100000 + [1]), 3).tolist()[1:] == [10, 10]
    several = label_weights(np.array([[1, 0], [1, 0], [1, 0], [1, 1], [0, 0]]), 2)
    assert several.tolist() == pytest.approx([0.5, 2.0])


def test_weights_come_from_the_training_documents(tmp_path):
    task, data = made(balance="sqrt_inverse"), Data()
    data.targets = lambda split: np.array([0, 0, 0, 0, 1, 2]) if split == "train" else np.array([0, 1, 2, 0, 1, 2])
    trainer(tmp_path, max_steps=1).fit(task, datamodule=data)
    assert task.weight.tolist() == pytest.approx([0.5**0.5, 2**0.5, 2**0.5])


def test_baselines_stand_beside_each_set(tmp_path):
    task = made(baselines=True)
    tried(tmp_path, task, Data(sets=("test_a", "test_b")))
    assert {name.split("/")[0] for name in task.baseline} == {"test_a", "test_b"}
    assert {name.split("/")[1] for name in task.baseline} == {"majority", "tfidf", "tfidf_512"}
    assert task.baseline["test_a/tfidf/accuracy"] == 1
    assert task.baseline["test_a/majority/accuracy"] == pytest.approx(1 / 3)


def test_baselines_score_the_documents_that_were_read(tmp_path):
    task = made(baselines=True)
    trainer(tmp_path, limit_test_batches=1).test(task, datamodule=Data(), verbose=False)
    assert task.baseline["test/majority/accuracy"] == pytest.approx(1 / 2)  # of documents 0 and 4


def test_sets_that_come_alone_have_no_baseline(tmp_path):
    task = made(baselines=True)
    tried(tmp_path, task, Sets())
    assert task.baseline == {}


def test_a_beginning_is_so_many_tokens_and_the_question_comes_on_top():
    short, long = "a b c", " ".join(f"w{n}" for n in range(6000))
    cuts = beginnings(Words(), [short, long, short])
    assert cuts == [5, len(" ".join(f"w{n}" for n in range(BEGINNING))), 5]
    data = Data()
    data.texts, data.question = lambda split: [short, long] * 3, lambda split: ["what is it?"] * 6
    asked = labelled(data, "test", [1])
    assert asked.texts == [f"what is it?\n{long}"]
    assert asked.beginnings().texts == [f"what is it?\n{long[: cuts[1]]}"]
    assert asked.targets.tolist() == [1]


def test_words_of_no_end_are_cut_where_they_are_too():
    wide = " ".join("x" * 100 for _ in range(1000))
    assert beginnings(Words(), [wide]) == [512 * 101 - 1]


def test_the_default_task_is_one():
    cfg = compose(["data=clinical_long"]).task
    built = instantiate(cfg)(model=Model(), spec=made().spec, optimizer=None, schedule=None)
    assert built.monitor in built.metrics


def test_scores_of_half_precision_are_judged_in_full():
    class Half(Model):
        def forward(self, batch):
            reading = super().forward(batch)
            return replace(reading, scores=reading.scores.bfloat16())

    task, batch = made(), Data().batch([0, 1])
    task.model = Half()
    loss = task.step(batch).loss
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(F.cross_entropy(task.model(batch).scores.float(), batch.labels).item())
