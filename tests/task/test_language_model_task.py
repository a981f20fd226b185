"""The task against slow definitions: what is counted, what leaks, how it goes on writing."""

import json
import math

import pytest
import torch
from lightning.pytorch import Trainer

from manyheads import build
from manyheads.config.compose import compose
from manyheads.data.base import TokenSpec
from manyheads.data.stream.packing import PackedRows
from manyheads.errors import UserError
from manyheads.task.base import groups
from manyheads.task.continuation import Continuation, continued

SMALL = [
    "data=language_model",
    "data.vocabulary=300",
    "data.length=48",
    "data.context=16",
    "data.batch_tokens=480",
    "data.evaluation_batch_tokens=480",
    'data.separator="\\n\\n"',
    "model.dim=32",
    "model.heads=4",
    "model.hidden=48",
    "model.layers=2",
    "task.continuation.prompts=3",
    "task.continuation.given=8",
    "task.continuation.longest=10",
    "task.lzma_bytes=1000",
]
HOW = {"prompts": 3, "given": 8, "longest": 10, "temperature": 1.0, "top_k": None, "top_p": None, "seed": 1}


@pytest.fixture(scope="module")
def overrides(tmp_path_factory):
    place = tmp_path_factory.mktemp("texts")
    for name, count in (("train", 60), ("val", 9), ("test_a", 7), ("test_b", 4)):
        told = [f"{name} document {n} is told" + " and on and é" * (5 * n % 13) for n in range(count)]
        (place / f"{name}.txt").write_text("\n\n".join(told))
    return [*SMALL, f"data.path={place}", f"paths.cache={tmp_path_factory.mktemp('cache')}"]


@pytest.fixture(scope="module")
def prepared(overrides):
    data = build.data(compose(overrides))
    data.prepare_data()
    data.setup("fit")
    return data


def made(overrides, prepared, *more):
    cfg = compose([*overrides, *more])
    return build.task(cfg, build.model(cfg, prepared.spec), prepared.spec).eval()


def grown(task):
    """Weights far from their start, so that every part has a say."""
    with torch.no_grad():
        for weight in task.model.parameters():
            weight.copy_(torch.randn_like(weight) * (1.0 if weight.dim() == 1 else 2 / weight.size(1) ** 0.5))
    return task


def alone(model, ids):
    """(nll, correct) of every next token of one document, read by itself from `ids[0]` on."""
    ids = torch.tensor(ids.tolist()).unsqueeze(0)
    scores = model.head(model(ids[:, :-1]))[0].double().log_softmax(-1)
    nll = -scores.gather(1, ids[0, 1:, None]).squeeze(1)
    return nll, scores.argmax(-1) == ids[0, 1:]


def test_a_row_of_documents_is_each_document_alone(overrides, prepared):
    """The whole split in rows that hold several documents: no sum changes, so nothing leaks from one into the next."""
    task, store = grown(made(overrides, prepared)), prepared.store("val")
    batch = PackedRows(store, 1000, 0, prepared.tokenizer.bytes)[[0]]
    assert batch.several
    assert batch.tokens == len(store.tokens) - len(store)
    slow = [alone(task.model, store.document(n)) for n in range(len(store))]
    result = task.step(batch)
    nll, correct = (torch.cat(found).double() for found in zip(*slow, strict=True))
    assert result.count == len(nll)
    assert result.loss.item() == pytest.approx(nll.mean().item(), rel=1e-4)
    assert result.means["accuracy"].item() == pytest.approx(correct.mean().item(), abs=1e-6)


def test_context_is_read_but_not_counted(overrides, prepared):
    task = grown(made(overrides, prepared))
    rows = prepared.rows(prepared.store("val"), 16)
    cuts, store = rows.cuts, prepared.store("val")
    row = next(r for r in range(len(rows)) if cuts.counted[r] > cuts.begins[r])
    batch = rows[[row]]
    document = int((rows.document_ends <= cuts.begins[row]).sum())
    skipped = int(cuts.counted[row] - cuts.begins[row])
    first = int(cuts.begins[row] - (rows.document_ends[document - 1] if document else 0))
    one = int((batch.documents[0] == 0).sum())
    ids = store.document(document)[first : first + one + 1]
    nll, _ = alone(task.model, ids)
    rest = batch.counted & (batch.documents > 0)
    states = task.model(batch.ids, batch.documents)
    other = task.model.head.loss(states[rest], batch.targets[rest], 0.0).nll.item() if rest.any() else 0.0
    result = task.step(batch)
    assert result.loss.item() * result.count == pytest.approx(nll[skipped:].sum().item() + other, rel=1e-4)


def test_nothing_leaks_from_the_future_or_from_padding(overrides, prepared):
    task = grown(made(overrides, prepared))
    rows = prepared.rows(prepared.store("train"), 0)
    batch = rows[[len(rows) - 1, 0]]
    states = task.model(batch.ids, batch.documents)
    at = 20
    changed = batch.ids.clone()
    changed[:, at:] = torch.randint(5, 200, changed[:, at:].shape)
    torch.testing.assert_close(task.model(changed, batch.documents)[:, :at], states[:, :at])
    padding = batch.documents < 0
    assert padding.any()
    noise = torch.where(padding, torch.randint_like(batch.ids, 5, 200), batch.ids)
    torch.testing.assert_close(task.model(noise, batch.documents)[~padding], states[~padding])


def test_learns_one_batch_by_heart(overrides, prepared):
    task = made(overrides, prepared, "model.dropout=0")
    rows = prepared.rows(prepared.store("train"), 0)
    batch, optimizer = rows[range(4)], torch.optim.Adam(groups(task.model), lr=3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        task.step(batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(task.model.parameters(), 1.0)
        optimizer.step()
    assert task.step(batch).means["accuracy"] > 0.85  # a piece without its beginning cannot be known


def evaluated(task, data, folder):
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=str(folder),
    )  # fmt: skip
    return trainer.test(task, datamodule=data, verbose=False), trainer.validate(task, datamodule=data, verbose=False)


def test_scores_are_sums_over_every_token_and_byte_of_a_split(overrides, prepared, tmp_path):
    cfg = compose([*overrides, "data.context=null", "data.length=300", "data.evaluation_batch_tokens=700"])
    data = build.data(cfg)
    data.setup()
    task = grown(build.task(cfg, build.model(cfg, data.spec), data.spec))
    tests, [val] = evaluated(task, data, tmp_path)
    scores = {name: value for found in tests for name, value in found.items()} | val
    for split in ("val", "test_a", "test_b"):
        store = data.store(split)
        rows = data.rows(store, 0)
        with torch.no_grad():
            parts = [task.eval()._score(rows[[r]]) for r in range(len(rows))]
        nll, correct, count = (float(sum(getattr(p, name) for p in parts)) for name in ("nll", "correct", "count"))
        size = sum(len(data.tokenizer.decode_document(store.document(n)).encode()) for n in range(len(store)))
        assert scores[f"{split}/loss"] == pytest.approx(nll / count, rel=1e-5)
        assert scores[f"{split}/perplexity"] == pytest.approx(math.exp(nll / count), rel=1e-4)
        assert scores[f"{split}/bits_per_byte"] == pytest.approx(nll / math.log(2) / size, rel=1e-5)
        assert scores[f"{split}/accuracy"] == pytest.approx(correct / count, rel=1e-5)
    assert scores["test/loss"] == scores["test_a/loss"]


def test_baselines_and_continuations_stand_beside_the_model(overrides, prepared, tmp_path):
    task = made(overrides, prepared)
    evaluated(task, prepared, tmp_path)
    names = ("uniform", "unigram", "bigram", "trigram", "lzma")
    bits = {name: [task.baseline[f"{test}/{name}/bits_per_byte"] for test in ("test_a", "test_b")] for name in names}
    assert all(value > 0 for values in bits.values() for value in values)
    assert bits["uniform"][0] > bits["unigram"][0] > bits["bigram"][0]
    vocabulary = prepared.spec.target_vocabulary
    assert task.baseline["test_a/uniform/perplexity"] == pytest.approx(vocabulary)
    rows = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert [row["set"] for row in rows] == ["test_a"] * 3 + ["test_b"] * 3
    for number, row in enumerate(rows[:3]):
        whole = prepared.tokenizer.decode_document(prepared.store("test_a").document(number))
        assert whole.startswith(row["prompt"] + row["text"])
        assert row["prompt"]


def test_the_yaml_measures_what_it_monitors(overrides, prepared):
    task = made(overrides, prepared)
    assert task.monitor in task.metrics


@pytest.mark.parametrize("attention", ["dense", "sliding_window", "bigbird", "linear", "sigmoid"])
@pytest.mark.parametrize("position", ["rope", "sinusoidal", "none"])
def test_going_on_from_memory_is_a_full_pass(attention, position, overrides, prepared):
    task = grown(made(overrides, prepared, f"attention={attention}", f"position={position}"))
    task.double()
    prompts, lengths = torch.randint(5, 200, (3, 7)), torch.tensor([7, 1, 4])
    decoding, slow = (continued(task.model, prompts, lengths, cached) for cached in (True, False))
    tokens, told = torch.zeros(3, dtype=torch.long), [prompts[b, : lengths[b]].tolist() for b in range(3)]
    with torch.no_grad():
        for _ in range(6):
            scores = decoding.step(tokens)
            torch.testing.assert_close(scores, slow.step(tokens), rtol=1e-6, atol=1e-6)
            for b in range(3):
                full = task.model.head(task.model(torch.tensor([told[b]])))[0, -1]
                torch.testing.assert_close(scores[b], full, rtol=1e-6, atol=1e-6)
            tokens = torch.randint(5, 200, (3,))
            told = [[*row, int(token)] for row, token in zip(told, tokens, strict=True)]


def test_greedy_writes_the_likeliest_until_the_end_of_the_text(overrides, prepared):
    task, spec = grown(made(overrides, prepared)), prepared.spec
    prompts = [[spec.bos], [spec.bos, 40, 41, 42], [spec.bos, 50]]
    assert Continuation(**HOW)(task.model, spec, prompts[:1] * 2, "greedy", cached=False) == 2 * (
        Continuation(**HOW)(task.model, spec, prompts[:1], "greedy")
    )
    found = Continuation(**HOW)(task.model, spec, prompts, "greedy")
    assert found == Continuation(**HOW)(task.model, spec, prompts, "greedy", cached=False)
    for prompt, written in zip(prompts, found, strict=True):
        ids = list(prompt)
        while len(ids) < len(prompt) + 10:
            scores = task.model.head(task.model(torch.tensor([ids])))[0, -1]
            scores[[spec.pad, spec.bos, spec.sep]] = float("-inf")
            if int(scores.argmax()) == spec.eos:
                break
            ids.append(int(scores.argmax()))
        assert written == ids[len(prompt) :]


def test_samples_are_the_same_for_a_seed_and_alone_or_not_at_all(overrides, prepared):
    task, spec = grown(made(overrides, prepared)), prepared.spec
    prompts = [[spec.bos, 40, 41]] * 2
    first, again = (Continuation(**HOW)(task.model, spec, prompts, "sample") for _ in range(2))
    assert first == again != Continuation(**HOW | {"seed": 2})(task.model, spec, prompts, "sample")
    assert Continuation(**HOW)(task.model, spec, [], "greedy") == []
    assert Continuation(**HOW | {"longest": 0})(task.model, spec, prompts, "greedy") == [[], []]
    assert Continuation(**HOW | {"top_k": 1})(task.model, spec, prompts, "sample") == Continuation(**HOW)(
        task.model, spec, prompts, "greedy"
    )


def test_no_more_than_a_row_is_read_or_written(overrides, prepared):
    task = made(overrides, prepared, "position=learned", "position.limit=48")
    spec: TokenSpec = prepared.spec
    for longest in (10, 500):
        [written] = Continuation(**HOW | {"longest": longest})(task.model, spec, [[spec.bos, *[40] * 99]], "greedy")
        assert len(written) <= min(longest, 24)


@pytest.mark.parametrize("change", [{"given": 0}, {"temperature": 0.0}, {"top_p": 1.5}, {"top_k": 0}, {"prompts": -1}])
def test_settings_that_make_no_sense_are_refused(change):
    with pytest.raises(UserError, match=rf"task\.continuation\.{next(iter(change))}="):
        Continuation(**HOW | change)


@pytest.mark.parametrize("model", ["encoder_only", "encoder_decoder"])
def test_other_models_are_refused(model, overrides, prepared):
    with pytest.raises(UserError, match="take model=decoder_only"):
        build.model(compose(["data=language_model", f"model={model}"]), prepared.spec)
