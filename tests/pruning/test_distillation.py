"""What a teacher adds to a training, over every model of every family, against plain loops over places."""

import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import families
import pytest
import torch
import torch.distributed as dist
from families import CELLS, SPECS, chunks, windows
from lightning.pytorch import Callback, seed_everything
from torch import multiprocessing, nn

from manyheads import build
from manyheads.config.compose import compose
from manyheads.config.objects import instantiate
from manyheads.data.batch import PairBatch
from manyheads.data.documents.batch import DocumentBatch
from manyheads.data.formal.batch import WordBatch
from manyheads.data.series.batch import SeriesBatch
from manyheads.data.stream.batch import TextBatch
from manyheads.errors import UserError
from manyheads.model.shapes import DecoderOnly
from manyheads.model.stack import Stack
from manyheads.pruning.distill import Distillation, digest
from manyheads.pruning.hidden import evenly
from manyheads.pruning.maps import Maps
from manyheads.training.exact import Dice

cells = pytest.mark.parametrize(("kind", "shape"), CELLS)
ROWS = torch.arange(4)
THINNED = {"clinical_long": replace(SPECS["clinical_long"], word_dropout=0.4)}


def padded(lengths, more, seed):
    """Words up to each length, then padding up to the longest one, and `more` of it."""
    width = int(lengths.max())
    words = torch.randint(5, 23, (len(lengths), width), generator=torch.Generator().manual_seed(seed))
    return nn.functional.pad(words * (torch.arange(width) < lengths.unsqueeze(1)), (0, more))


def pairs(more):
    lengths, ends = torch.tensor([9, 1, 4, 6]), torch.tensor([3, 7, 2, 5])
    sides = padded(lengths, more, 1), lengths, padded(ends, more, 2), ends
    return PairBatch(ROWS, 36, *sides)


def text(more):
    """Each row counts from its third token on: the first two are context."""
    documents = torch.tensor([[0] * 5 + [1] * 8, [0] * 2 + [1] * 4 + [2] * 4 + [-1] * 3])
    documents = nn.functional.pad(documents, (0, more), value=-1)
    real = documents >= 0
    ids, targets = (padded(real.sum(1), more, seed) for seed in (3, 4))
    return TextBatch(ROWS[:2], 23, ids, targets, documents, real & (torch.arange(13 + more) > 1), True, 40)


def documents(more):
    read = chunks(*families.CHUNKED)
    ids = padded(read.lengths, more, 5)
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    return DocumentBatch(read.index, 35, ids, read.lengths, read.document, read.place, labels)


def series(more):
    return SeriesBatch(ROWS[:3], 132, *vars(windows()).values(), series=torch.zeros(3, dtype=torch.long))


def prefixes(more):
    lengths = torch.tensor([9, 1, 4, 6])
    ids = padded(lengths, more, 6)
    return WordBatch(ROWS, 20, ids, lengths, ids % 3)


BATCHES = {
    "translation": pairs,
    "language_model": text,
    "clinical_long": documents,
    "timeseries": series,
    "formal_language": prefixes,
}


def task(kind, shape, **changes):
    """A task whose model has grown, without dropout: what a student reads, its teacher reads alike."""
    made = families.grown(
        families.build(kind, shape, families.attention("gqa"), "rope", "modern", dropout=0.0, **changes)
    )
    return build.task(
        compose([f"data={kind}", f"model={shape}"]), made, made.spec if hasattr(made, "spec") else SPECS[kind]
    )


def saved(of, folder):
    """A checkpoint of this task, which it then began with."""
    path = Path(folder) / "base.ckpt"
    torch.save({"state_dict": copy.deepcopy(of.state_dict()), "global_step": 7}, path)
    of.config = {"ckpt_path": str(path)}
    return path


def taught(of, folder, **changes):
    """Distillation from the weights that the task has now."""
    saved(of, folder)
    distill = Distillation(**{"weight": 0.7, "temperature": 2.0, "hidden": 0.5, "layers": 2, "lr": 0.01} | changes)
    distill.start(None, of)
    return distill


def moved(of, maps=None):
    """Another student than its teacher was."""
    with torch.no_grad():
        for weight in [*of.model.parameters(), *([] if maps is None else maps.by_stack.values())]:
            weight.add_(0.1 * torch.randn_like(weight))


def weights(of, distill):
    return [*of.model.parameters(), *distill.maps.by_stack.values()]


@cells
def test_a_student_that_is_its_teacher_has_nothing_to_learn(kind, shape, tmp_path):
    """Also where words are left out by chance: both leave out the same."""
    student = task(kind, shape, spec=THINNED.get(kind, SPECS[kind]))
    distill = taught(student, tmp_path, weight=1.0, hidden=1.0)
    result = distill.lesson(student.train(), BATCHES[kind](0))
    grads = torch.autograd.grad(result.objective, weights(student, distill), allow_unused=True)
    assert result.loss > 0
    assert abs(result.objective) < 1e-20
    assert all(grad is None or grad.abs().max() < 1e-10 for grad in grads)


@cells
def test_what_is_trained_is_the_loss_and_both_distances(kind, shape, tmp_path):
    student, batch = task(kind, shape), BATCHES[kind](0)
    distill, teacher = taught(student, tmp_path), copy.deepcopy(student.model)
    moved(student, distill.maps)
    plain, answer, theirs = student.step(batch), student.answer(student.model, batch), student.answer(teacher, batch)
    result = distill.lesson(student, batch)
    logits, states = answer.distance(theirs, 2.0), slowly(student.model, teacher, distill.maps, student, batch)
    wanted = 0.3 * plain.loss + 0.7 * logits + 0.5 * states
    torch.testing.assert_close(result.objective, wanted)
    torch.testing.assert_close(result.loss, plain.loss)
    torch.testing.assert_close([*result.curves.values()], [logits.detach(), states.detach()])
    leaves = weights(student, distill)
    own, other = (
        torch.autograd.grad(x, leaves, allow_unused=True, materialize_grads=True) for x in (result.objective, wanted)
    )
    torch.testing.assert_close(own, other)


def slowly(model, teacher, maps, of, batch):
    """Block by block, row by row, place by place."""
    own, theirs, found = {}, {}, []
    for seen, watched in ((own, model), (theirs, teacher)):
        stacks = [(name, stack) for name, stack in watched.named_modules() if isinstance(stack, Stack)]
        blocks = [(f"{name} {n}", block) for name, stack in stacks for n, block in enumerate(stack.blocks)]
        keep = lambda name, seen=seen: lambda module, args, output: seen.__setitem__(name, output)  # noqa: E731
        hooks = [block.register_forward_hook(keep(name)) for name, block in blocks]
        of.answer(watched, batch)
        [hook.remove() for hook in hooks]
    for name, states in own.items():
        stack, errors = name.split()[0], []
        lengths = LENGTHS[type(batch)](batch, stack, states, model)
        for row, length in enumerate(lengths):
            for at in range(int(length)):
                target = theirs[name][row, at].detach()
                error = states[row, at] @ maps.by_stack[stack] - target
                errors.append((error @ error) / (target @ target))
        found.append(sum(errors) / len(errors))
    return sum(found) / len(found)


def _pair_lengths(batch, stack, states, model):
    if stack == "encoder":
        return batch.source_lengths
    if isinstance(model, DecoderOnly):
        # The last word is asked for, not read.
        return (batch.source_lengths + batch.target_lengths).clamp(max=states.size(1))
    return batch.target_lengths.clamp(max=states.size(1))


def _chunk_lengths(batch, stack, states, model):
    return (
        batch.lengths if len(states) == len(batch.lengths) and states.size(1) > 1 else _all(batch, stack, states, model)
    )


def _all(batch, stack, states, model):
    return [states.size(1)] * len(states)


LENGTHS = {
    PairBatch: _pair_lengths,
    TextBatch: lambda batch, *rest: (batch.documents >= 0).sum(1),
    DocumentBatch: _chunk_lengths,
    SeriesBatch: _all,
    WordBatch: lambda batch, *rest: batch.lengths,
}


@pytest.mark.parametrize(("kind", "shape"), [cell for cell in CELLS if cell[0] != "timeseries"])
def test_padding_counts_nothing(kind, shape, tmp_path):
    student = task(kind, shape)
    distill = taught(student, tmp_path)
    moved(student)
    # From 1 on: the last word of the longest target is read where a place is left behind it.
    short, long = (distill.lesson(student, BATCHES[kind](more)) for more in (1, 5))
    torch.testing.assert_close(short.objective, long.objective)
    torch.testing.assert_close(short.curves, long.curves)


@pytest.mark.parametrize("hidden", [0.0, 1.0])
def test_the_student_reads_once_and_keeps_no_hooks(hidden, tmp_path):
    student = task("translation", "encoder_decoder")
    distill = taught(student, tmp_path, hidden=hidden)
    read = []
    hook = student.model.encoder.blocks[0].register_forward_hook(lambda *_: read.append(1))
    distill.lesson(student, pairs(0))
    hook.remove()
    assert read == [1]
    for model in (student.model, distill.teacher):
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_the_teacher_is_no_part_of_what_is_trained_or_saved(tmp_path):
    student = task("translation", "encoder_decoder")
    names = set(student.state_dict())
    distill, before = taught(student, tmp_path), digest(student.model.state_dict())
    optimizer, batch = torch.optim.Adam(student.parameters(), lr=0.01), pairs(0)
    first = distill.lesson(student, batch).curves
    moved(student)
    for _ in range(20):
        optimizer.zero_grad()
        distill.lesson(student.train(), batch).objective.backward()
        optimizer.step()
        distill.maps.step(1.0, taken=True)
    assert set(student.state_dict()) == names
    assert len(list(student.parameters())) == len(list(student.model.parameters()))
    assert digest(distill.teacher.state_dict()) == before != digest(student.model.state_dict())
    assert all(p.grad is None and not p.requires_grad for p in distill.teacher.parameters())
    assert not any(module.training for module in distill.teacher.modules())
    assert all(x.abs() < 1e-20 for x in first.values())
    ended = distill.state_dict()
    distill.stop(student)
    assert distill.state_dict()["teacher"] == ended["teacher"]
    torch.testing.assert_close(distill.state_dict()["maps"]["maps"], ended["maps"]["maps"])
    assert student.lesson is None


def test_the_teacher_throws_no_dice(tmp_path):
    """With dropout in the student, the dice stand behind a lesson where they stand behind a step."""
    student = task("translation", "encoder_decoder").train()
    for module in student.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.3
    distill = taught(student, tmp_path)
    ends = []
    for step in (student.step, lambda batch: distill.lesson(student, batch)):
        torch.manual_seed(3)
        step(pairs(0))
        ends.append(torch.rand(1))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("gone", ["none", "moved", "changed"])
def test_without_the_start_it_says_so(gone, tmp_path):
    student = task("translation", "encoder_decoder")
    distill = taught(student, tmp_path)
    again = Distillation(0.5, 2.0, 0.0, 1, 0.1)
    again.load_state_dict(distill.state_dict())
    if gone == "none":
        student.config = {"ckpt_path": None}
    elif gone == "moved":
        (tmp_path / "base.ckpt").unlink()
    else:
        moved(student)
        saved(student, tmp_path)
    with pytest.raises(
        UserError, match={"none": "ckpt_path=FILE", "moved": "is gone", "changed": "other weights"}[gone]
    ):
        again.start(None, student)


@pytest.mark.parametrize("wrong", [{"weight": 1.5}, {"temperature": 0.0}, {"hidden": -1.0}, {"layers": 0}])
def test_values_that_mean_nothing_are_refused(wrong):
    with pytest.raises(UserError, match=f"pruning.distill.{next(iter(wrong))}"):
        Distillation(**{"weight": 0.5, "temperature": 2.0, "hidden": 0.0, "layers": 4, "lr": 0.1} | wrong)


def test_blocks_are_spaced_evenly_up_to_the_last():
    assert evenly(12, 4) == [2, 5, 8, 11]
    assert evenly(6, 4) == [0, 2, 3, 5]
    assert evenly(2, 4) == [0, 1]


def test_maps_begin_as_the_identity_and_go_on_as_they_were(tmp_path):
    """Two that are given the same gradients stay the same, also where one of them was saved and read again."""
    model = task("translation", "encoder_decoder").model
    one = Maps(model, 0.1)
    assert set(one.by_stack) == {"encoder", "decoder"}
    assert all(torch.equal(x, torch.eye(16, dtype=torch.float64)) for x in one.by_stack.values())
    grads = torch.randn(6, 16, 16, dtype=torch.float64)
    for step in range(3):
        _step(one, grads[step])
    torch.save(one.state_dict(), tmp_path / "maps")
    other = Maps(model, 0.1)
    other.load_state_dict(torch.load(tmp_path / "maps", weights_only=True))
    for step in range(3, 6):
        _step(one, grads[step])
        _step(other, grads[step])
    assert all(torch.equal(x, other.by_stack[name]) for name, x in one.by_stack.items())


def _step(maps, grad, factor=1.0, taken=True):
    for x in maps.by_stack.values():
        x.grad = grad.clone()
    maps.step(factor, taken)


def test_maps_wait_where_the_weights_wait_or_a_gradient_is_no_number():
    maps = Maps(task("translation", "decoder_only").model, 0.1)
    for grad, taken in ((torch.ones(16, 16), False), (torch.full((16, 16), torch.inf), True)):
        _step(maps, grad.double(), taken=taken)
        assert torch.equal(maps.by_stack["decoder"], torch.eye(16, dtype=torch.float64))
        assert maps.by_stack["decoder"].grad is None


def _rank(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    maps = Maps(task("translation", "decoder_only").model, 0.1)
    _step(maps, GRADS[rank], 3.0)
    torch.save(maps.adam.state_dict()["state"][0]["exp_avg"], folder / str(rank))


GRADS = torch.randn(2, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def test_ranks_take_the_same_step_with_the_mean_of_their_gradients(tmp_path):
    multiprocessing.start_processes(_rank, args=(tmp_path,), nprocs=2, start_method="fork")
    for rank in "01":
        torch.testing.assert_close(torch.load(tmp_path / rank), 0.1 * 3.0 * GRADS.mean(0))


# --- a training ---------------------------------------------------------------------------------------------------

SMALL = ["data.pairs=500", "data.vocabulary=300", "data.batch_tokens=400", "model.dim=16", "model.heads=2", "seed=1"]
SMALL += ["model.hidden=16", "pruning=magnitude", "pruning/distill=hidden", "pruning.schedule.every=2"]
SMALL += [
    "trainer.accelerator=cpu",
    "trainer.max_steps=12",
    "trainer.max_epochs=-1",
    "pruning.target=0.5",
    "model.dropout=0.2",
]


class Saver(Callback):
    """In the middle, between two steps."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, index):
        if trainer.global_step == 7 and (index + 1) % trainer.accumulate_grad_batches == 0:
            trainer.save_checkpoint(Path(trainer.default_root_dir) / "7.ckpt")


def fit(folder, *overrides, start=None):
    """What run.py does, from the weights of base.ckpt."""
    cfg = compose([*SMALL, f"paths.cache={folder / 'cache'}", *overrides])
    cfg.callbacks = cfg.logger = None
    seed_everything(1, verbose=False)
    data = build.data(cfg)
    data.prepare_data()
    data.setup("fit")
    own = build.task(cfg, build.model(cfg, data.spec), data.spec)
    own.config = {"ckpt_path": str(folder / "base.ckpt")}
    if not (folder / "base.ckpt").exists():
        saved(own, folder)
        with torch.no_grad():  # so that something is to be learned
            own.model.head.weight.mul_(1.1)
    pruner = instantiate(cfg.pruning)
    trainer = build.trainer(cfg, folder, [Dice(), pruner, Saver()])
    trainer.fit(own, datamodule=data, ckpt_path=start)
    return SimpleNamespace(task=own, pruner=pruner, trainer=trainer, maps=pruner.distill.maps)


@pytest.mark.parametrize("each", [1, 2])
def test_going_on_in_the_middle_ends_in_the_same_weights_and_maps(each, tmp_path):
    accumulate = f"trainer.accumulate_grad_batches={each}"
    whole = fit(tmp_path, accumulate)
    again = fit(tmp_path, accumulate, start=tmp_path / "7.ckpt")
    assert all(torch.equal(x, again.task.state_dict()[name]) for name, x in whole.task.state_dict().items())
    for name, x in whole.maps.by_stack.items():
        assert torch.equal(x, again.maps.by_stack[name])
        assert not torch.equal(x, torch.eye(16))
    assert whole.task.lesson is None
    assert {"train/distill_logits", "train/distill_hidden"} <= set(whole.trainer.callback_metrics)


def test_the_state_is_plain_values(tmp_path):
    fit(tmp_path)
    kept = torch.load(tmp_path / "7.ckpt", weights_only=True)
    assert set(kept["callbacks"]["Pruner"]["distill"]) == {"teacher", "maps"}
    assert not any("teacher" in name or "maps" in name for name in kept["state_dict"])
