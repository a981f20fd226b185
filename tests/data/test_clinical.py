"""The data module as train.py uses it, on made-up documents, on the embedded notes, and on real ones where they are."""

import inspect
import json
import logging
import os
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from lightning import Callback, LightningModule, Trainer
from omegaconf import OmegaConf

from manyheads.config.launch import register
from manyheads.data.base import DocumentSpec
from manyheads.data.clinical import ClinicalLongData
from manyheads.data.documents import store
from manyheads.data.documents.rows import DocumentRows
from manyheads.data.documents.tokenizer import TextTokenizer
from manyheads.data.tokenizer import BOS, EOS, PAD, SEP
from manyheads.errors import UserError

ROOT = Path(__file__).parents[2]
CLINICAL = Path(os.environ.get("MANYHEADS_DATA", ROOT.parent / "shared" / "data")) / "clinical"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))


def options(**changes):
    """conf/data/clinical_long.yaml, with what other files of conf say put in by hand."""
    values = OmegaConf.to_container(OmegaConf.load(ROOT / "conf/data/clinical_long.yaml").data, resolve=False)
    return {key: value for key, value in (values | {"seed": 1} | changes).items() if key != "_target_"}


def note(number):
    return f"Note {number}. " + f"The patient is well, {number} times. " * (number * 7 % 23)


def folder(path, counts=(60, 9, 8), question=False):
    first = 0
    for name, count in zip(("train", "val", "test"), counts, strict=True):
        rows = [{"text": note(n), "label": ["no", "yes"][n % 2], "id": f"d{n}"} for n in range(first, first + count)]
        rows = [row | {"ask": f"is {row['id']} well?"} for row in rows] if question else rows
        (path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        first += count
    return str(path)


SMALL = {"vocabulary": 320, "chunk": 40, "overlap": 8, "batch_tokens": 400, "evaluation_batch_tokens": 800}


def made(path, cache, **changes):
    data = ClinicalLongData(**options(path=str(path), cache=cache, name="id", **SMALL | changes))
    data.prepare_data()
    data.setup("fit")
    return data


def test_the_yaml_and_the_constructor_have_the_same_keys_and_only_the_yaml_has_values():
    parameters = inspect.signature(ClinicalLongData).parameters
    assert set(options()) == set(parameters)
    assert all(parameter.default is parameter.empty for parameter in parameters.values())


@pytest.mark.parametrize("typed", [[], ["model=decoder_only"]])
def test_data_names_its_companions_and_the_command_line_wins(typed):
    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        choices = compose("train", ["data=clinical_long", *typed], return_hydra_config=True).hydra.runtime.choices
    assert choices["model"] == ("decoder_only" if typed else "encoder_only")
    assert choices["task"] == "classification"


@pytest.mark.parametrize("question", [None, "ask"])
@pytest.mark.parametrize("read", ["chunked", "whole"])
def test_spec_and_contract_follow_the_files(read, question, tmp_path, cache):
    data = made(folder(tmp_path, question=True), cache, read=read, question=question, aggregate="attention")
    loaders = {"train": data.train_dataloader(), "val": data.val_dataloader(), "test": data.test_dataloader()[0]}
    evaluated = {name: list(loader) for name, loader in loaders.items() if name != "train"}
    size = data.tokenizer.size
    everything = [DocumentRows(p.chunks, None)[range(len(p.documents))] for p in data._prepared.values()]
    assert data.spec == DocumentSpec(
        kind="clinical_long",
        longest=max(int(batch.lengths.max()) for batch in everything),
        source_vocabulary=size, target_vocabulary=size, joint=True, pad=PAD, bos=BOS, eos=EOS, sep=SEP,
        labels=("no", "yes"), multilabel=False, pool="attention", aggregate="attention", layers=2,
        most=max(int(batch.place.max()) + 1 for batch in everything),
        bag_of_words=False, word_dropout=0.0,
    )  # fmt: skip
    assert (data.spec.most == 1) == (read == "whole")
    assert max(batch.ids.size(1) for batches in evaluated.values() for batch in batches) <= data.spec.longest
    assert data.test_names == ["test"]
    assert data.labels == ("no", "yes")
    for name, first in (("train", 0), ("val", 60), ("test", 69)):
        count = len(data.texts(name))
        assert data.texts(name) == [note(n) for n in range(first, first + count)]
        assert data.names(name) == [f"d{n}" for n in range(first, first + count)]
        assert data.targets(name).tolist() == [n % 2 for n in range(first, first + count)]
        assert data.question(name) == (question and [f"is d{n} well?" for n in range(first, first + count)])
    for name, batches in evaluated.items():
        seen = [row for batch in batches for row in batch.index.tolist()]
        assert sorted(seen) == list(range(len(data.texts(name))))
        for batch in batches:
            check(data, name, batch)


def check(data, name, batch):
    """Each chunk's ids are the characters that `spans` names, behind the document's question."""
    spans, texts, asked = data.spans(name), data.texts(name), data.question(name)
    assert batch.labels.tolist() == data.targets(name)[batch.index.numpy()].tolist()
    for chunk in range(len(batch.ids)):
        row = int(batch.index[batch.document[chunk]])
        begin, end = spans[row][int(batch.place[chunk])]
        ids = batch.ids[chunk, : batch.lengths[chunk]].tolist()
        start = [BOS] if asked is None else [BOS, *data.tokenizer.encode([asked[row]])[0], SEP]
        assert ids[: len(start)] == start
        assert data.tokenizer.decode(ids[len(start) : -1]).strip() == texts[row][begin:end].strip()
        assert ids[-1] == EOS


def test_training_reads_some_chunks_within_the_budget_and_evaluation_all(tmp_path, cache):
    data = made(folder(tmp_path), cache, train_chunks=2)
    counts = data._prepared["train"].chunks.counts
    assert counts.max() > 2
    batches = list(data.train_dataloader())
    assert sum(len(batch.ids) for batch in batches) == np.minimum(counts, 2).sum()
    assert max(batch.cells for batch in batches) <= 400
    every = made(tmp_path, cache, train_chunks=None)
    assert sum(len(b.ids) for b in every.train_dataloader()) == np.minimum(counts, 10).sum()  # 10 x 40 are 400
    assert sum(len(b.ids) for b in data.val_dataloader()) == data._prepared["val"].chunks.counts.sum()


def test_nothing_is_made_again_when_a_key_changes_that_does_not_matter(tmp_path, cache, monkeypatch):
    first = made(folder(tmp_path), cache)
    monkeypatch.setattr(store, "_tokenise", lambda *_: pytest.fail("tokenised again"))
    changes = {"chunk": 30, "read": "whole", "batch_tokens": 999, "aggregate": "max", "boundaries": "sentences"}
    for key, value in (changes | {"train_chunks": 1, "seed": 7, "overlap": 3, "evaluation_batch_tokens": 50}).items():
        assert made(tmp_path, cache, **{key: value}).tokenizer.digest == first.tokenizer.digest


def test_the_tokenizer_knows_the_training_texts_alone(tmp_path, cache):
    first = made(folder(tmp_path), cache)
    lines = (tmp_path / "test.jsonl").read_text().splitlines()
    changed = [json.loads(line) | {"text": f"zzzzz zzzzz zzzzz {n}"} for n, line in enumerate(lines)]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in changed))
    assert made(tmp_path, cache).tokenizer.digest == first.tokenizer.digest


def test_a_second_setup_changes_nothing(tmp_path, cache):
    data = made(folder(tmp_path), cache)
    spec, rows = data.spec, data._prepared["train"]
    data.prepare_data()
    data.setup("test")
    assert data.spec == spec
    assert data._prepared["train"] is rows


def test_a_finished_run_is_restored_without_training_a_tokenizer(tmp_path, cache, monkeypatch):
    (tmp_path / "run").mkdir()
    first = made(folder(tmp_path), cache)
    first.save(tmp_path / "run")
    monkeypatch.setattr("manyheads.data.clinical.train_tokenizer", lambda *_, **__: pytest.fail("trained again"))
    data = ClinicalLongData(**options(path=str(tmp_path), cache=cache, name="id", **SMALL)).restore(tmp_path / "run")
    data.setup("test")
    assert (data.tokenizer.digest, data.labels) == (first.tokenizer.digest, ("no", "yes"))
    assert data.spec == first.spec
    (tmp_path / "run/labels.json").write_text("{")
    with pytest.raises(UserError, match=r"labels\.json is missing or damaged"):
        ClinicalLongData(**options(cache=cache)).restore(tmp_path / "run")


def restored(tmp_path, cache, **changes):
    (tmp_path / "run").mkdir()
    made(folder(tmp_path, question="question" in changes), cache, **changes).save(tmp_path / "run")
    return ClinicalLongData(**options(path="gone", cache=cache, **SMALL | changes)).restore(tmp_path / "run")


def test_other_test_sets_and_their_labels(tmp_path, cache):
    data = restored(tmp_path, cache)
    rows = [{"text": note(n), "label": "yes"} for n in range(200, 205)]
    other = tmp_path / "other.jsonl"
    other.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tests = data.tests_alone(str(other))
    assert tests.test_names == ["other"]
    batches = list(tests.test_dataloader()[0])
    assert sorted(row for batch in batches for row in batch.index.tolist()) == [0, 1, 2, 3, 4]
    assert tests.targets("other").tolist() == [1] * 5
    assert tests.texts("other") == [row["text"] for row in rows]
    assert tests.names("other")[0] == "other.jsonl row 1"
    assert tests.labels == ("no", "yes")
    check(tests, "other", batches[0])
    other.write_text(json.dumps({"text": "x", "label": "perhaps"}) + "\n")
    with pytest.raises(UserError, match=r"other\.jsonl:1: the label perhaps was never seen in training"):
        data.tests_alone(str(other))


def test_texts_without_labels(tmp_path, cache):
    data = restored(tmp_path, cache)
    texts = [note(5), "", note(21), "Short."]
    loader, spans = data.documents_of(texts)
    batches = list(loader)
    assert sorted(row for batch in batches for row in batch.index.tolist()) == [0, 1, 2, 3]
    assert all(batch.labels is None for batch in batches)
    assert all(set().union(*(range(*s) for s in of)) == set(range(len(t))) for of, t in zip(spans, texts, strict=True))
    with pytest.raises(UserError, match="trained on documents without questions: give none"):
        data.documents_of(texts, ["why?"] * 4)


def test_texts_with_questions(tmp_path, cache):
    data = restored(tmp_path, cache, question="ask")
    loader, _ = data.documents_of(["A text."], ["is it well?"])
    [batch] = loader
    assert data.tokenizer.decode(batch.ids[0].tolist()) == "is it well? A text."
    with pytest.raises(UserError, match="with questions: give one with each text"):
        data.documents_of(["A text."])
    with pytest.raises(UserError, match=r"text 2: the question has \d+ tokens, which leaves no room .* data\.chunk=40"):
        data.documents_of(["x", "y"], ["why?", "why? " * 40])


BAD = {
    "chunk": ({"chunk": 8}, r"data\.chunk=8 has to be greater than data\.overlap=8"),
    "longest": ({"longest": 2, "read": "whole"}, r"data\.longest=2 leaves no room"),
    "budget": ({"batch_tokens": 30}, r"train\.jsonl:\d+ alone has 40 tokens in one row.*lower data\.chunk"),
    "whole budget": ({"batch_tokens": 30, "read": "whole"}, r"train\.jsonl:\d+ alone has .*lower data\.longest"),
    "question": (
        {"question": "ask", "chunk": 14},
        r"t\w+\.jsonl:\d+: the question has \d+ tokens, which leaves no room",
    ),
    "count": ({"train_chunks": 0}, r"data\.train_chunks=0 is no number of that: give 1 or more"),
    "word dropout": ({"word_dropout": 1.0}, r"data\.word_dropout=1\.0 is no share to leave out: give 0 or more, below"),
    "vocabulary": ({"vocabulary": 100}, r"data\.vocabulary=100 is too small"),
    "label": ({"label": "id"}, r"data\.label=id names no column of classes: the 60 training documents have 60"),
    "group": ({"group": "label"}, r"is left for \w+: they are of 2 groups \(data\.group=label\)"),
    "column": ({"text": "txt"}, r"\.jsonl has no column for data\.text=txt; it has text, label, id, ask"),
}


@pytest.mark.parametrize("case", BAD)
def test_mistakes_are_one_sentence(case, tmp_path, cache):
    changes, words = BAD[case]
    folder(tmp_path, question=True)
    with pytest.raises(UserError, match=words) as caught:
        made(tmp_path, cache, **changes).train_dataloader()
    assert "\n" not in str(caught.value)


def test_too_few_documents_are_counted(tmp_path, cache):
    folder(tmp_path)
    for name, rows in (("train", ("B", "B", "B")), ("val", ("B",)), ("test", ("A",))):
        notes = [{"text": f"{name} {n}", "label": label, "id": n} for n, label in enumerate(rows)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in notes))
    words = r"The 3 training documents have too few labels to tell apart \(B\); data\.label=label"
    with pytest.raises(UserError, match=words):
        made(tmp_path, cache)


def test_one_group_is_counted(tmp_path, cache):
    rows = [{"text": note(n), "label": "ab"[n % 2], "id": "p"} for n in range(30)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=r"the 30 documents is left for \w+: they are of 1 group \(data\.group=id\)"):
        made(tmp_path, cache, group="id")


def test_long_questions_can_be_left_out(tmp_path, cache, caplog):
    folder(tmp_path, question=True)
    rows = (tmp_path / "train.jsonl").read_text().splitlines()
    rows[3] = json.dumps(json.loads(rows[3]) | {"ask": "why? " * 30})
    (tmp_path / "train.jsonl").write_text("\n".join(rows) + "\n")
    data = made(tmp_path, cache, question="ask", on_bad_row="skip")
    assert "d3" not in data.names("train")
    assert len(data.names("train")) == len(data.spans("train")) == len(data.targets("train")) == 59
    assert "59 of 60 rows kept, left out:" in caplog.text


def test_multilabel_documents_from_repeated_rows(tmp_path, cache):
    rows = [{"text": note(n // 2), "label": "abcd"[n % 4], "id": n} for n in range(120)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = made(tmp_path, cache, multilabel=True)
    assert sum(len(data.texts(name)) for name in ("train", "val", "test")) == 60
    assert data.targets("train").sum(1).tolist() == [2] * len(data.texts("train"))
    assert data.spec.multilabel
    [batch, *_] = data.val_dataloader()
    assert (batch.labels.dtype, batch.labels.shape[1]) == (torch.float32, 4)
    assert sorted(map(int, data.names("train") + data.names("val") + data.names("test"))) == list(range(0, 120, 2))


class Model(LightningModule):
    """Remembers the documents and chunks of every batch."""

    def __init__(self):
        super().__init__()
        self.weight, self.seen = torch.nn.Parameter(torch.zeros(())), []

    def training_step(self, batch, _):
        self.seen.append((batch.index.tolist(), batch.place.tolist()))
        return (self.weight - batch.tokens) ** 2

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


class SaveAt(Callback):
    """Saves once, inside an epoch."""

    def on_train_batch_end(self, trainer, module, *_):
        if len(module.seen) == 23:
            trainer.save_checkpoint(trainer.default_root_dir + "/x.ckpt")


def fit(data, path, resume=None, **stop):
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
    model = Model()
    trainer = Trainer(
        accelerator="cpu", default_root_dir=path, limit_val_batches=0, callbacks=SaveAt(), **quiet, **stop
    )
    trainer.fit(model, datamodule=data, ckpt_path=resume, weights_only=True if resume else None)
    return model.seen


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_resumed_run_draws_the_same_chunks(tmp_path, cache, caplog):
    folder(tmp_path)
    with caplog.at_level(logging.INFO):
        whole = fit(made(tmp_path, cache, train_chunks=2), tmp_path, max_steps=40)
    assert caplog.text.count("first training batch") == 1
    rest = fit(made(tmp_path, cache, train_chunks=2), tmp_path, tmp_path / "x.ckpt", max_steps=40)
    assert rest == whole[23:]
    assert len({str(batch) for batch in whole}) > 30  # epochs differ


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_overfitting_takes_the_same_batches_in_every_epoch(tmp_path, cache):
    seen = fit(made(folder(tmp_path), cache, train_chunks=2), tmp_path, overfit_batches=2, max_epochs=3)
    assert seen == seen[:2] * 3


def test_the_embedded_default_is_ready_without_a_file(cache):
    data = ClinicalLongData(**options(cache=cache, documents=60, length=200, vocabulary=400, chunk=100, overlap=10))
    data.prepare_data()
    data.setup()
    assert [len(data.texts(name)) for name in ("train", "val", "test")] == [48, 6, 6]
    assert data.spec.most > 1
    assert sum(len(batch) for batch in data.train_dataloader()) == 48


@pytest.mark.skipif(not CLINICAL.is_dir(), reason=f"no {CLINICAL}; MANYHEADS_DATA names the folder of data")
def test_mtsamples_is_split_by_note_and_evidence_by_article(cache, monkeypatch):
    columns = {"text": "transcription", "label": "medical_specialty", "multilabel": True, "most_frequent": 10}
    path = str(CLINICAL / "mtsamples")
    data = ClinicalLongData(**options(path=path, cache=cache, on_bad_row="skip", unlabelled="keep", **columns))
    found = data._read()
    assert [len(of) for of in found.values()] == [1917, 231, 209]
    assert len(data.labels) == 10
    assert not set(found["train"].digests) & set(found["test"].digests)
    names = {"questions": "prompts.csv.gz", "key": "doc_id", "split": "split"}
    asked = {"question": ["outcome", "intervention", "comparator"], "name": "prompt_id"}
    path = str(CLINICAL / "evidence_inference_ccby")
    found = ClinicalLongData(**options(path=path, cache=cache, **names, **asked))._read()
    assert [len(of) for of in found.values()] == [1024, 103, 126]
    assert found["train"].questions[0] == "visceral fat area | growth hormone (GH) | placebo"


def test_a_tokenizer_of_another_family_is_refused(tmp_path):
    (tmp_path / "tokenizer.json").write_text('{"joint": true, "lowercase": false, "both": {}}')
    with pytest.raises(UserError, match="no tokenizer of documents"):
        TextTokenizer.load(tmp_path / "tokenizer.json")
