"""The task, and the whole matrix of parts that it may be made of."""

import itertools

import pytest
import torch

from manyheads import build
from manyheads.config.compose import compose
from manyheads.config.places import conf_folder
from manyheads.errors import UserError
from manyheads.task.base import groups

SMALL = ["data.pairs=500", "data.vocabulary=400", "data.batch_tokens=600", "model.dim=32", "model.heads=4"]


def options(group):
    return sorted(path.stem for path in (conf_folder() / group).glob("*.yaml"))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The generated corpus, tokenised once."""
    data = build.data(compose([*SMALL, f"paths.cache={tmp_path_factory.mktemp('cache')}"]))
    data.prepare_data()
    data.setup("fit")
    return data


@pytest.fixture
def batch(prepared):
    return next(iter(prepared.train_dataloader()))


def made(prepared, *overrides):
    cfg = compose([*SMALL, *overrides])
    return build.task(cfg, build.model(cfg, prepared.spec), prepared.spec)


WITHOUT_SCORES = {("linear", "alibi"), ("performer", "alibi")}
CELLS = [*itertools.product(options("attention"), options("model"), options("position"))]


@pytest.mark.parametrize(("attention", "model", "position"), CELLS)
def test_every_cell_learns_or_is_refused_in_one_sentence(attention, model, position, prepared, batch):
    overrides = (f"attention={attention}", f"model={model}", f"position={position}")
    if model == "encoder_only":
        with pytest.raises(UserError, match="cannot write"):
            made(prepared, *overrides)
        return
    task = made(prepared, *overrides)
    if (attention, position) in WITHOUT_SCORES:
        with pytest.raises(UserError, match=f"attention={attention} has no scores .* set position=rope"):
            task.step(batch)
        return
    loss = task.step(batch).loss
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in task.model.parameters())


@pytest.mark.parametrize("model", ["encoder_decoder", "decoder_only"])
@pytest.mark.parametrize("block", options("model/block"))
def test_overfits_one_batch_and_writes_it_again(model, block, prepared, batch):
    task = made(prepared, f"model={model}", f"model/block={block}", "model.dropout=0", "task.search.method=greedy")
    optimizer = torch.optim.Adam(groups(task.model), lr=3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        task.step(batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(task.model.parameters(), 1.0)
        optimizer.step()
    assert task.eval().step(batch).means["accuracy"] > 0.99
    wanted = [row[1 : n - 1] for row, n in zip(batch.target.tolist(), batch.target_lengths.tolist(), strict=True)]
    found = task.search(task.model, batch.source, batch.source_lengths, prepared.spec)
    assert sum(a == b for a, b in zip(found, wanted, strict=True)) >= 0.9 * len(wanted)


def test_loss_counts_every_word_of_the_target_once(prepared, batch):
    task = made(prepared, "task.smoothing=0", "model.dropout=0").eval()
    result = task.step(batch)
    assert result.count == int((batch.target_lengths - 1).sum())
    states = task.model(batch.source, batch.source_lengths, batch.target[:, :-1])
    logits = task.model.head(states).double()
    slow = []
    for row, length in enumerate(batch.target_lengths.tolist()):
        for at in range(length - 1):
            slow.append(-logits[row, at].log_softmax(-1)[batch.target[row, at + 1]])
    assert result.loss.item() == pytest.approx(torch.stack(slow).mean().item(), rel=1e-5)
    assert result.means["nll"].item() == pytest.approx(result.loss.item(), rel=1e-6)


def test_norms_and_biases_do_not_decay(prepared):
    task = made(prepared, "model/block=vaswani2017")
    decayed, spared = groups(task.model)
    assert spared["weight_decay"] == 0
    assert all(p.ndim == 2 for p in decayed["params"])
    assert all(p.ndim == 1 for p in spared["params"])
    assert sum(len(g["params"]) for g in (decayed, spared)) == len(list(task.model.parameters()))


def test_learned_positions_refuse_data_that_is_longer(prepared):
    with pytest.raises(UserError, match=r"position\.limit=5"):
        made(prepared, "position=learned", "position.limit=5")


def test_decoder_only_needs_one_table_for_both_sides(prepared, tmp_path):
    data = build.data(compose([*SMALL, "data.joint=false", f"paths.cache={tmp_path}"]))
    data.prepare_data()
    data.setup("fit")
    with pytest.raises(UserError, match=r"data\.joint=true"):
        made(data, "model=decoder_only")
    assert torch.isfinite(made(data).step(next(iter(data.train_dataloader()))).loss)
