"""The store against lists: whatever is appended or selected, a row's own keys come back in order."""

import pytest
import torch

from manyheads.model.cache import LayerCache

GROUPS, SIZE = 2, 3


def new(rows: int, n: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(rows, GROUPS, n, SIZE), torch.randn(rows, GROUPS, n, SIZE)


@pytest.mark.parametrize("prompt", [1, 5, 16, 17, 40])
def test_rows_of_one_length(prompt):
    cache, past = LayerCache(), new(3, prompt)
    found = cache.append(*past, 0)
    for start in range(prompt, prompt + 40):
        torch.testing.assert_close(found, past, rtol=0, atol=0)
        k, v = new(3)
        past = torch.cat((past[0], k), dim=2), torch.cat((past[1], v), dim=2)
        found = cache.append(k, v, start)
    torch.testing.assert_close(found, past, rtol=0, atol=0)


@pytest.mark.parametrize("lengths", [[3, 1, 2], [17, 4, 16]])
def test_rows_of_different_lengths(lengths):
    cache, start = LayerCache(), torch.tensor(lengths)
    prompt = new(3, max(lengths))
    cache.append(*prompt, 0)
    rows = [[(k[:, t], v[:, t]) for t in range(n)] for k, v, n in zip(*prompt, lengths, strict=True)]
    for _ in range(40):
        k, v = new(3)
        found = cache.append(k, v, start)
        assert found[0].size(2) <= 4 * (int(start.max()) + 1), "a store that doubles at each step fills the machine"
        for b, row in enumerate(rows):
            row.append((k[b, :, 0], v[b, :, 0]))
            for store, made in zip(found, zip(*row, strict=True), strict=True):
                assert torch.equal(store[b, :, : start[b] + 1], torch.stack(made, dim=1))
        start = start + 1


def test_selecting_orders_rows_and_drops_contexts():
    cache, own, context = LayerCache(), new(4, 2), new(2, 5)
    cache.append(*own, 0)
    cache.context = context
    cache.select(torch.tensor([1, 0, 3, 3]), None)
    assert torch.equal(cache.own[0][:, :, :2], own[0][[1, 0, 3, 3]])
    assert cache.context is context
    cache.select(torch.tensor([3, 2]), torch.tensor([1]))
    assert torch.equal(cache.own[1][:, :, :2], own[1][[3, 3]])
    assert torch.equal(cache.context[0], context[0][1:])


def test_selecting_from_nothing_is_nothing():
    cache = LayerCache()
    cache.select(torch.tensor([0]), torch.tensor([0]))
    assert cache.own is None
    assert cache.context is None
