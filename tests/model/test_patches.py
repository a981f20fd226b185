"""Patches against plain loops."""

import pytest
import torch

from manyheads.errors import UserError
from manyheads.model.patches import KnownPatch, PatchEmbedding, cut, lengthened, overlapping


@pytest.mark.parametrize(("patch", "stride"), [(4, 2), (4, 4), (3, 1), (5, 5)])
def test_cut_against_a_loop(patch, stride):
    x = torch.randn(2, 13, 3)
    found = cut(x, patch, stride)
    slow = [x[:, first : first + patch].transpose(1, 2) for first in range(0, 13 - patch + 1, stride)]
    assert torch.equal(found, torch.stack(slow, 1))


@pytest.mark.parametrize("history", range(5, 24))
@pytest.mark.parametrize(("patch", "stride"), [(4, 2), (5, 5), (5, 3), (2, 1)])
def test_every_step_of_a_history_is_in_a_patch(history, patch, stride):
    steps = torch.arange(float(history)).view(1, -1, 1)
    found = cut(lengthened(steps, stride), patch, stride)
    assert found.size(1) == overlapping(history, patch, stride)
    assert set(found.flatten().tolist()) == set(range(history))
    assert found[0, -1, 0, -1] == history - 1


def test_as_many_as_patchtst():
    assert overlapping(336, 16, 8) == 42
    assert overlapping(512, 16, 8) == 64


def test_the_last_step_is_repeated():
    assert lengthened(torch.tensor([[[1.0], [2.0]]]), 3).flatten().tolist() == [1, 2, 2, 2, 2]


@pytest.mark.parametrize(
    ("history", "patch", "stride", "message"),
    [(8, 9, 4, "data.patch=9 is longer than data.history=8"), (8, 4, 5, "data.stride=5"), (8, 4, 0, "data.stride=0")],
)
def test_refusals(history, patch, stride, message):
    with pytest.raises(UserError, match=message):
        overlapping(history, patch, stride)


@pytest.fixture
def parts():
    b, n, c, p, f = 2, 5, 3, 4, 2
    return torch.randn(b, n, c, p), (torch.rand(b, n, c, p) > 0.5).float(), torch.randn(b, n, f, p)


def test_embedding_is_linear_in_each_patch(parts):
    values, missing, known = parts
    embed = PatchEmbedding(6, patch=4, known=2)
    found = embed(values, missing, known)
    assert found.shape == (6, 5, 6)
    weight, bias = embed.values.weight, embed.values.bias
    for row, (b, c) in enumerate((b, c) for b in range(2) for c in range(3)):
        for n in range(5):
            slow = weight[:, :4] @ values[b, n, c] + weight[:, 4:] @ missing[b, n, c] + bias
            slow = slow + embed.known.weigh.weight @ known[b, n].flatten()
            torch.testing.assert_close(found[row, n], slow)


def test_nothing_known_and_nothing_missing_is_patchtst(parts):
    values, missing, known = parts
    embed = PatchEmbedding(6, patch=4, known=0)
    found = embed(values, torch.zeros_like(missing), known[:, :, :0])
    plain = torch.nn.functional.linear(values, embed.values.weight[:, :4], embed.values.bias)
    torch.testing.assert_close(found, plain.transpose(1, 2).flatten(0, 1))
    assert [name for name, _ in embed.named_parameters()] == ["values.weight", "values.bias"]


def test_what_is_known_is_the_same_for_all_channels(parts):
    found = KnownPatch(6, patch=4, known=2)(parts[2], 3).unflatten(0, (2, 3))
    assert torch.equal(found[:, 0], found[:, 1])
    assert torch.equal(found[:, 0], found[:, 2])
