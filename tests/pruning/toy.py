"""A training of seconds under Lightning, with a Pruner: also as a command, one process of several (see test_pruner)."""

import sys
from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.utils.data import DataLoader, Dataset

from manyheads.config.compose import compose
from manyheads.config.objects import instantiate
from manyheads.data.loader import ResumableLoader
from manyheads.pruning.gates import Gates
from manyheads.task.step_mean import StepMean
from manyheads.training.exact import Dice

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "model"))
from tiny import encoder_only

METHODS = ("magnitude", "taylor", "movement", "random", "l0", "one_shot")


class Batches:
    """Forty batches of four numbers, from the next one on; of two processes, each has every second one."""

    epoch, first = 0, 0

    def __len__(self):
        return 40

    def __iter__(self):
        several = torch.distributed.is_available() and torch.distributed.is_initialized()
        rank = torch.distributed.get_rank() if several else 0
        return iter([torch.arange(4) + 4 * (2 * n + rank) for n in range(self.first, 40)])

    def set_epoch(self, epoch):
        # Lightning says so of an epoch that it goes on with, too.
        if epoch != self.epoch:
            self.epoch, self.first = epoch, 0


class Data(LightningDataModule):
    def train_dataloader(self):
        return ResumableLoader(Rows(), sampler=Batches(), batch_size=None, generator=torch.Generator())

    def val_dataloader(self):
        return DataLoader(Rows(), sampler=[torch.arange(160, 168)], batch_size=None)


class Rows(Dataset):
    def __getitem__(self, index):
        return (index,)


class Toy(LightningModule):
    """Says which word stands first."""

    def __init__(self, block="vaswani2017"):
        super().__init__()
        torch.manual_seed(5)
        self.model = encoder_only("rope", block, 2, dropout=0.1)
        self.head = nn.Linear(16, 8)
        self.seen, self.step_mean = [], StepMean()

    def step(self, batch):
        tokens = (batch[0].unsqueeze(1) * torch.tensor([7, 3, 5, 2])) % 14 + 5
        states = self.model(tokens, torch.tensor([4, 3, 2, 4, 1, 4, 4, 4])[: len(tokens)])
        return nn.functional.cross_entropy(self.head(states[:, 0]), batch[0] % 8)

    def training_step(self, batch, index):
        self.seen.append(pruner_of(self.trainer)._open())
        loss = self.step(batch)
        self.log("loss", loss)
        return loss

    def validation_step(self, batch, index):
        self.log("val/loss", self.step(batch))

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


def pruner_of(trainer):
    return next(callback for callback in trainer.callbacks if callback.state_key == "Pruner")


class Saver(Callback):
    """Saves in the middle, at these steps."""

    def __init__(self, folder, steps):
        self.folder, self.steps = folder, steps

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, index):
        if trainer.global_step in self.steps:
            trainer.save_checkpoint(self.folder / f"{trainer.global_step}.ckpt")


def pruner(method, *overrides):
    every = ["pruning.schedule.every=3", "pruning.seed=4"]
    return instantiate(compose([f"pruning={method}", *every, *overrides]).pruning)


def fit(method, folder, *overrides, steps=40, save=(), start=None, block="vaswani2017", **arguments):
    seed_everything(3, verbose=False)
    toy, callback = Toy(block), pruner(method, *overrides)
    trainer = Trainer(
        accelerator="cpu",
        max_steps=steps,
        callbacks=[Dice(), callback, *arguments.pop("callbacks", []), Saver(folder, save)],
        default_root_dir=str(folder),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **arguments,
    )
    trainer.fit(toy, datamodule=Data(), ckpt_path=start)
    return toy, callback, trainer


def same(one: Gates, other: Gates) -> bool:
    names = one.units.keys() == other.units.keys() and one.layers.keys() == other.layers.keys()
    units = all(torch.equal(z, other.units[name]) for name, z in one.units.items())
    return names and units and all(torch.equal(z, other.layers[name]) for name, z in one.layers.items())


if __name__ == "__main__":
    kind, where = sys.argv[1], Path(sys.argv[2])
    made, found, run = fit(kind, where, strategy="ddp", devices=2, use_distributed_sampler=False)
    kept = {"gates": found._now.content(), "weights": made.state_dict(), "first": made.seen[0].content()}
    torch.save(kept, where / f"rank_{run.global_rank}.pt")
