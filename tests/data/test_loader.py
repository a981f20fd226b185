"""A run stopped anywhere goes on with exactly the batches that it would have seen; with a real Trainer."""

import logging
from itertools import islice

import numpy as np
import pytest
import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer

from manyheads.data.batch import PairRows, Ragged
from manyheads.data.batching import EveryRow, TokenBatches
from manyheads.data.loader import close_finished_epoch, evaluation_loader, training_loader

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def rows_and_lengths():
    lengths = np.random.default_rng(3).integers(1, 12, (60, 2))
    sides = [Ragged([[7] * n for n in side]) for side in lengths.T]
    return PairRows(*sides), lengths


def make_loader(workers=0):
    rows, lengths = rows_and_lengths()
    return training_loader(rows, TokenBatches(lengths, 150, 30, seed=5), workers)


BATCHES = len(make_loader())


def indices(batches):
    return [batch.index.tolist() for batch in batches]


class Data(LightningDataModule):
    def __init__(self, workers):
        super().__init__()
        self.workers = workers

    def train_dataloader(self):
        close_finished_epoch(self.trainer)
        return make_loader(self.workers)

    def val_dataloader(self):
        rows, lengths = rows_and_lengths()
        return evaluation_loader(rows, EveryRow(lengths, 200), 0)


class Recorder(LightningModule):
    """Remembers the epoch and the rows of every batch, and a number drawn from the global generator at each."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen, self.validated, self.drawn = [], [], []

    def training_step(self, batch, _):
        self.seen.append((self.current_epoch, *batch.index.tolist()))
        self.drawn.append(torch.rand(()).item())
        return (self.weight - batch.tokens) ** 2

    def validation_step(self, batch, _):
        self.validated += batch.index.tolist()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


class SaveAt(Callback):
    """Saves once, in the given hook, as soon as so many batches were seen."""

    def __init__(self, path, hook, batches):
        self.path, self.batches, self.at = path, batches, None
        setattr(self, hook, self.save)

    def save(self, trainer, module, *_):
        if self.at is None and len(module.seen) >= self.batches:
            self.at = len(module.seen), len(module.validated)
            trainer.save_checkpoint(self.path)


def fit(folder, callback=None, resume=None, workers=0, validate=True, **options):
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.manual_seed(0)
    module = Recorder()
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        limit_val_batches=1.0 if validate else 0,
        callbacks=callback,
        **quiet,
        **options,
    )
    trainer.fit(module, datamodule=Data(workers), ckpt_path=resume, weights_only=True if resume else None)
    return module


STOPS = {"epochs": {"max_epochs": 3}, "steps": {"max_epochs": -1, "max_steps": 3 * BATCHES - 2}}
STOPS["both"] = {"max_epochs": 3, "max_steps": 1000}
PLACES = {
    "inside": ("on_train_batch_end", BATCHES + 3, True),
    "last batch but one": ("on_train_batch_end", 2 * BATCHES - 1, True),
    "last batch": ("on_train_batch_end", BATCHES, True),
    "validation": ("on_validation_end", BATCHES, True),
    "epoch's end": ("on_train_epoch_end", BATCHES, True),
    "inside, without validation": ("on_train_batch_end", BATCHES + 3, False),
    "last batch, without validation": ("on_train_batch_end", BATCHES, False),
    "epoch's end, without validation": ("on_train_epoch_end", BATCHES, False),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("stop", STOPS)
def test_a_resumed_run_sees_the_rest_of_the_batches(stop, place, tmp_path):
    hook, batches, validate = PLACES[place]
    save = SaveAt(tmp_path / "x.ckpt", hook, batches)
    whole = fit(tmp_path, save, validate=validate, num_sanity_val_steps=0, **STOPS[stop])
    rest = fit(tmp_path, None, save.path, validate=validate, num_sanity_val_steps=0, **STOPS[stop])
    assert rest.seen == whole.seen[save.at[0] :]
    assert len(whole.seen) >= 3 * BATCHES - 2
    if place != "last batch":  # there Lightning passes over the validation that was about to come
        assert rest.validated == whole.validated[save.at[1] :]


@pytest.mark.parametrize("options", [{"val_check_interval": 0.5}, {"limit_train_batches": BATCHES - 2}])
@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_train_epoch_end", "on_validation_end"])
def test_also_with_validation_inside_and_with_shortened_epochs(hook, options, tmp_path):
    save = SaveAt(tmp_path / "x.ckpt", hook, BATCHES + 1)
    whole = fit(tmp_path, save, max_epochs=4, **options)
    rest = fit(tmp_path, None, save.path, max_epochs=4, **options)
    assert rest.seen == whole.seen[save.at[0] :]
    assert rest.seen


@pytest.mark.parametrize("batches", [3, BATCHES + 2])
def test_also_with_workers(batches, tmp_path):
    save = SaveAt(tmp_path / "x.ckpt", "on_train_batch_end", batches)
    whole = fit(tmp_path, save, workers=2, max_epochs=2)
    assert fit(tmp_path, None, save.path, workers=2, max_epochs=2).seen == whole.seen[save.at[0] :]
    assert fit(tmp_path, max_epochs=2).seen == whole.seen
    short = {"max_epochs": 3, "limit_train_batches": 3}
    assert fit(tmp_path, workers=2, **short).seen == fit(tmp_path, **short).seen


def test_the_global_random_numbers_are_the_models_alone(tmp_path):
    torch.manual_seed(0)
    drawn = fit(tmp_path, max_epochs=2).drawn
    torch.manual_seed(0)
    torch.nn.Parameter(torch.zeros(()))
    assert drawn == [torch.rand(()).item() for _ in drawn]


def test_every_pass_is_another_epoch():
    loader = make_loader()
    first, second = indices(loader), indices(loader)
    assert len(first) == len(second) == len(loader)
    assert first != second
    assert loader.state_dict() == {"epoch": 2, "batches": 0}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_pass_goes_on_where_another_loader_stopped(workers):
    whole = [*indices(make_loader()), *indices(second_epoch())]
    stopped = make_loader(workers)
    seen = indices(islice(stopped, BATCHES - 3))
    loader = make_loader(workers)
    loader.load_state_dict(stopped.state_dict())
    assert [*seen, *indices(loader), *indices(loader)] == whole


def second_epoch():
    loader = make_loader()
    loader.load_state_dict({"epoch": 1, "batches": 0})
    return loader


def test_a_finished_epoch_is_followed_by_the_next():
    loader = make_loader()
    loader.load_state_dict({"epoch": 0, "batches": BATCHES})
    assert indices(loader) == indices(second_epoch())


def test_batches_that_are_passed_over_are_not_made(monkeypatch):
    made = []
    plain = PairRows.__getitem__
    monkeypatch.setattr(PairRows, "__getitem__", lambda self, rows: made.append(rows) or plain(self, rows))
    loader = make_loader()
    loader.load_state_dict({"epoch": 0, "batches": BATCHES - 2})
    assert made == []
    assert len(list(loader)) == len(made) == 2


def test_an_evaluation_begins_at_the_beginning_every_time():
    loader = Data(0).val_dataloader()
    next(iter(loader))
    assert indices(loader) == indices(loader)
    assert sorted(row for rows in indices(loader) for row in rows) == list(range(60))


def test_overfitting_takes_evaluation_batches_as_they_are(tmp_path):
    """Lightning replaces the sampler of a shuffled loader; TranslationData hands it a fixed one then."""
    data = Data(0)
    data.train_dataloader = data.val_dataloader
    trainer = Trainer(accelerator="cpu", default_root_dir=tmp_path, overfit_batches=2, max_epochs=3, logger=False)
    module = Recorder()
    trainer.fit(module, datamodule=data)
    batches = [rows for _, *rows in module.seen]
    assert batches == indices(islice(data.val_dataloader(), 2)) * 3
