"""Every model with every family of data and every attention takes a step, or is refused."""

import pytest
import torch
from cells import ATTENTIONS, CELLS, REFUSED, SHAPES, settings

from manyheads import build
from manyheads.config.compose import compose
from manyheads.errors import UserError


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Each family's data, read once."""
    made, folder = {}, tmp_path_factory.mktemp("matrix")

    def of(kind: str):
        if kind not in made:
            data = build.data(compose(settings(kind, SHAPES[1], f"paths.outputs={folder}")))
            data.prepare_data()
            data.setup("fit")
            made[kind] = data
        return made[kind]

    return of


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize(("kind", "shape"), CELLS)
def test_every_cell_learns_with_every_attention(prepared, kind, shape, attention, tmp_path):
    """A loss that is a number, and a gradient for every weight; none of the model's parts is cut off."""
    data = prepared(kind)
    cache = [f"attention.cache={tmp_path}"] if attention == "auto" else []
    cfg = compose(settings(kind, shape, f"attention={attention}", *cache))
    torch.manual_seed(0)
    task = build.task(cfg, build.model(cfg, data.spec), data.spec)
    batch = next(iter(data.train_dataloader()))
    result = task.step(batch)
    assert result.loss.isfinite()
    assert result.count > 0
    result.loss.backward()
    used = [p.grad is not None and bool(p.grad.isfinite().all()) for p in task.parameters() if p.requires_grad]
    assert all(used)
    for name, part in {
        **dict(task.model.named_children()),
        **dict(getattr(task.model, "body", task).named_children()),
    }.items():
        weights = [p for p in part.parameters() if p.requires_grad]
        assert not weights or any(p.grad.any() for p in weights), name


@pytest.mark.parametrize(("kind", "shape"), REFUSED)
def test_other_cells_are_refused_and_the_nearest_named(prepared, kind, shape):
    data, cfg = prepared(kind), compose(settings(kind, shape))
    with pytest.raises(UserError, match=REFUSED[kind, shape]) as refused:
        build.model(cfg, data.spec)
    assert str(refused.value).count(". ") == 0
