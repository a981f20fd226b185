"""A DataLoader that knows its place, so that a run stopped inside an epoch goes on with the very next batch."""

from collections.abc import Iterator

import torch
from lightning import Trainer
from torch.utils.data import DataLoader

from manyheads.data.batch import PairBatch, PairRows
from manyheads.data.batching import EveryRow, TokenBatches


def evaluation_loader(rows: PairRows, batches: EveryRow, workers: int) -> DataLoader:
    """Every pass begins at the first batch, and none is shuffled.

    The batches are a `batch_sampler` here, since Lightning's `overfit_batches` replaces any other `sampler`.
    """
    return DataLoader(rows, batch_sampler=batches, **_options(workers))


def training_loader(rows: PairRows, batches: TokenBatches, workers: int) -> "ResumableLoader":
    """The batches are the `sampler` here, whose `set_epoch` Lightning calls, and `batch_size=None` says that each item
    of it is a whole batch.
    """
    return ResumableLoader(rows, sampler=batches, batch_size=None, **_options(workers))


def share(trainer: Trainer | None) -> tuple[int, int]:
    """Rank, and of how many; alone where there is no trainer."""
    return (trainer.global_rank, trainer.world_size) if trainer else (0, 1)


def share_of_training(trainer: Trainer | None) -> dict[str, int]:
    """What TokenBatches wants to know of who trains."""
    rank, world = share(trainer)
    return {"rank": rank, "world": world, "accumulate": trainer.accumulate_grad_batches if trainer else 1}


def close_finished_epoch(trainer: Trainer | None) -> None:
    """Call where a trainer asks for the training batches.

    Resumed from a checkpoint made in `on_train_epoch_end`, and with `max_steps` set, Lightning 2.6 takes the finished
    epoch for an unfinished one (`FitLoop.restarting`), runs it again with one batch or none, and counts it twice: the
    data of a whole epoch is passed over. Without `max_steps` it does right, and here it is brought to do the same.
    """
    if trainer is None or not trainer.fit_loop.is_resuming:
        return
    epochs = trainer.fit_loop.epoch_progress.current
    if epochs.ready == epochs.started == epochs.processed:
        inner = trainer.fit_loop.epoch_loop
        for loop in (trainer.fit_loop, inner, inner.val_loop):
            loop._restarting = False


class ResumableLoader(DataLoader):
    """Iterating gives what is left of the present epoch; after its last batch the next epoch begins.

    The place is `sampler.epoch` and `sampler.first`. It counts batches handed out, not batches that workers have ready.

    Lightning saves `state_dict` with a checkpoint made inside an epoch. For one made at an epoch's end it saves it too
    but does not load it when training is counted in epochs (`FitLoop._load_combined_loader_states`); it calls
    `sampler.set_epoch` after making the iterator, however. So nothing is drawn before the first batch is asked for.
    """

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.sampler.epoch, "batches": self.sampler.first}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.sampler.epoch, self.sampler.first = state["epoch"], state["batches"]

    def __iter__(self) -> Iterator[PairBatch]:
        if self.sampler.first >= len(self):
            self._next_epoch()
        for batch in super().__iter__():
            self.sampler.first += 1
            yield batch
        self._next_epoch()

    def _next_epoch(self) -> None:
        self.sampler.set_epoch(self.sampler.epoch + 1)


def _options(workers: int) -> dict:
    """The generator is private: making an iterator would otherwise draw from the global one, and a resumed run, which
    makes one iterator more, would go on with other dropout.
    """
    return {
        "collate_fn": _as_it_is,
        "num_workers": workers,
        "persistent_workers": workers > 0,
        "pin_memory": torch.cuda.is_available(),
        "generator": torch.Generator(),
    }


def _as_it_is(batch: PairBatch) -> PairBatch:
    return batch
