"""One mean over a step, however its words were dealt out: to batches, to ranks, to both."""

from functools import partial

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import distributed as dist
from torch import multiprocessing
from torch.utils.data import DataLoader

from manyheads.task.base import Result, Task
from manyheads.task.step_mean import StepMean
from manyheads.training.schedules import Constant

WORDS = [torch.tensor(values) for values in ([0.5, -1.0, 2.0], [1.5], [3.0, -0.5], [0.25, 0.75, -2.0, 1.0, 0.1])]
"""Batches of unequal size."""


def weight():
    return torch.nn.Parameter(torch.tensor([0.7, -0.3]))


def loss_of(w, words):
    return ((words * w[0] + w[1]) ** 2).mean()


def whole():
    """The plain definition: all words in one batch."""
    w = weight()
    loss = loss_of(w, torch.cat(WORDS))
    loss.backward()
    return loss.detach(), w.grad


def stepped(batches):
    """What a rank finds that accumulates these batches as Lightning does: the mean shown, and the gradient."""
    w, mean = weight(), StepMean()
    optimizer = torch.optim.SGD([w], 0.1)
    for words in batches:
        loss = mean.add(loss_of(w, words), len(words), len(batches))
        (loss / len(batches)).backward()
    if dist.is_initialized():  # as DDP and FSDP do
        dist.all_reduce(w.grad)
        w.grad /= dist.get_world_size()
    mean.close(optimizer)
    return mean.mean, w.grad


def test_batches_of_a_step_weigh_as_much_as_they_hold():
    loss, gradient = whole()
    shown, found = stepped(WORDS)
    torch.testing.assert_close(shown, loss)
    torch.testing.assert_close(found, gradient)
    means = torch.stack([loss_of(weight(), words) for words in WORDS]).mean()
    assert (means - loss).abs() > 0.05  # a mean of means is something else


def test_each_step_begins_anew():
    mean, w = StepMean(), weight()
    for words in (WORDS, WORDS[:2]):
        for batch in words:
            mean.add(loss_of(w, batch), len(batch), 4)
        mean.close(torch.optim.SGD([w], 0.1))
    torch.testing.assert_close(mean.mean, loss_of(weight(), torch.cat(WORDS[:2])).detach())


def test_alone_nothing_is_touched():
    loss = loss_of(weight(), WORDS[0])
    assert StepMean().add(loss, 3, 1) is loss


def _rank(rank, folder, dealt):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.save(stepped([WORDS[number] for number in dealt[rank]]), folder / str(rank))


@pytest.mark.parametrize("dealt", [((0, 1), (2, 3)), ((3, 0), (1, 2))])
def test_so_do_those_of_two_ranks(tmp_path, dealt):
    multiprocessing.start_processes(_rank, args=(tmp_path, dealt), nprocs=2, start_method="fork")
    loss, gradient = whole()
    for rank in "01":
        shown, found = torch.load(tmp_path / rank)
        torch.testing.assert_close(shown, loss)
        torch.testing.assert_close(found, gradient)


class Line(Task):
    """A line through words, as a task sees it."""

    metrics = ("val/loss",)

    def step(self, batch):
        return Result(((self.model(batch[:, None]) - batch[:, None] ** 2) ** 2).mean(), len(batch), {})


class Curve(Callback):
    def __init__(self):
        self.losses = []

    def on_train_batch_end(self, trainer, *unused):
        if trainer.global_step > len(self.losses):
            self.losses.append(float(trainer.callback_metrics["train/loss"]))


def trained(batches, accumulate):
    torch.manual_seed(0)
    optimizer = partial(torch.optim.Adam, lr=0.1)
    task = Line(torch.nn.Linear(1, 1), None, optimizer, partial(Constant, warmup=1), "val/loss", "min")
    curve, quiet = Curve(), {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(
        accelerator="cpu",
        max_steps=4,
        max_epochs=-1,
        accumulate_grad_batches=accumulate,
        gradient_clip_val=0.5,
        callbacks=[curve],
        enable_model_summary=False,
        **quiet,
    )
    trainer.fit(task, DataLoader(batches, batch_size=None))
    return curve.losses, task.state_dict()


def test_a_training_with_accumulated_gradients_is_that_with_larger_batches():
    many, weights = trained(WORDS, 2)
    one, same = trained([torch.cat(WORDS[:2]), torch.cat(WORDS[2:])], 1)
    assert len(one) == 4
    assert many == pytest.approx(one, rel=1e-5)
    for name, value in same.items():
        torch.testing.assert_close(weights[name], value)
