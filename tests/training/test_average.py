from types import SimpleNamespace

import torch
from lightning.pytorch import LightningModule
from torch import nn

from manyheads.training import average


def test_mean_is_the_mean_of_every_number(tmp_path):
    states = [{"w": torch.randn(3, 5), "half": torch.randn(4).bfloat16(), "count": torch.tensor(n)} for n in range(4)]
    paths = []
    for n, state in enumerate(states):
        paths.append(tmp_path / f"step_{n:08d}.pt")
        torch.save(state, paths[-1])
    found = average.mean(paths, {"w", "half"})
    torch.testing.assert_close(found["w"].double(), torch.stack([s["w"].double() for s in states]).mean(0))
    assert found["half"].dtype == torch.bfloat16
    torch.testing.assert_close(found["half"], torch.stack([s["half"].double() for s in states]).mean(0).bfloat16())
    assert found["count"] == 3


def test_the_mean_of_one_is_that_one(tmp_path):
    torch.save({"w": torch.ones(2)}, tmp_path / "a.pt")
    assert torch.equal(average.mean([tmp_path / "a.pt"], {"w"})["w"], torch.ones(2))


def test_weights_that_are_no_numbers_are_not_kept(tmp_path):
    module = LightningModule()
    module.layer = nn.Linear(2, 2)
    states = [("fit", False), ("fit", True)]
    for step, (stage, broken) in enumerate(states, 1):
        if broken:
            module.layer.weight.data[0, 0] = float("nan")
        average.KeepWeights(keep=3).on_validation_end(trainer_of(module, tmp_path, stage, step), module)
    assert [path.name for path in average.recent(tmp_path / "checkpoints")] == ["step_00000001.pt"]


def trainer_of(module, folder, stage, step):
    weights = SimpleNamespace(lightning_module_state_dict=module.state_dict)
    return SimpleNamespace(
        sanity_checking=False,
        state=SimpleNamespace(fn=stage),
        strategy=weights,
        is_global_zero=True,
        callbacks=[],
        default_root_dir=str(folder),
        global_step=step,
    )
