"""What one device saved, two that share the weights out go on with, and save again as one device would."""

from types import SimpleNamespace

import torch
from torch import distributed as dist
from torch import multiprocessing, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from manyheads.training.strategy import FSDP2


class Tied(nn.Module):
    """A table that is used twice, a layer whose rows two ranks cannot share evenly, and a count that nobody shares."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 5)
        self.table = nn.Embedding(7, 4)
        self.last = nn.Linear(5, 7, bias=False)
        self.again = nn.Linear(4, 7, bias=False)
        self.again.weight = self.table.weight
        self.register_buffer("seen", torch.tensor(3))

    def forward(self, ids):
        x = self.table(ids)
        return self.last(self.first(x).relu()) + self.again(x)


def made(seed):
    """A model, and an optimizer that has its weights in another order than the model."""
    torch.manual_seed(seed)
    model = Tied()
    vectors, matrices = ([p for p in model.parameters() if (p.ndim > 1) == many] for many in (False, True))
    return model, torch.optim.AdamW([{"params": vectors, "weight_decay": 0.0}, {"params": matrices[::-1]}], lr=0.01)


def step(model, optimizer):
    optimizer.zero_grad()
    ids = torch.arange(6).reshape(2, 3)
    nn.functional.cross_entropy(model(ids).flatten(0, 1), (ids + 1).flatten()).backward()
    optimizer.step()


def _rank(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    model, _ = made(seed=1)  # other weights than those of the file
    fully_shard(model.first, mesh=init_device_mesh("cpu", (2,)))
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    vectors, matrices = ([p for p in model.parameters() if (p.ndim > 1) == many] for many in (False, True))
    optimizer = torch.optim.AdamW([{"params": vectors, "weight_decay": 0.0}, {"params": matrices[::-1]}], lr=9.0)
    strategy = FSDP2()
    strategy.cluster_environment = SimpleNamespace(global_rank=lambda: rank)
    strategy.model, strategy.optimizers = model, [optimizer]
    strategy.load_checkpoint(folder / "before.ckpt")
    step(model, optimizer)
    found = {"state_dict": strategy.lightning_module_state_dict(), "optimizer": strategy.optimizer_state(optimizer)}
    if rank == 0:
        torch.save(found, folder / "after.ckpt")
    assert found["optimizer"] == {} or rank == 0


def test_a_checkpoint_of_one_device_goes_in_and_comes_out(tmp_path):
    model, optimizer = made(seed=0)
    for _ in range(3):
        step(model, optimizer)
    torch.save(
        {"state_dict": model.state_dict(), "optimizer_states": [optimizer.state_dict()]}, tmp_path / "before.ckpt"
    )
    step(model, optimizer)
    multiprocessing.start_processes(_rank, args=(tmp_path,), nprocs=2, start_method="fork")
    found = torch.load(tmp_path / "after.ckpt", weights_only=True)
    assert list(found["state_dict"]) == list(model.state_dict())
    torch.testing.assert_close(dict(found["state_dict"]), dict(model.state_dict()))
    wanted = optimizer.state_dict()
    assert found["optimizer"]["state"].keys() == wanted["state"].keys()
    for number, kept in wanted["state"].items():
        torch.testing.assert_close(found["optimizer"]["state"][number], kept)
    for mine, its in zip(found["optimizer"]["param_groups"], wanted["param_groups"], strict=True):
        assert mine["params"] == its["params"]
        assert mine["lr"] == its["lr"] == 0.01
