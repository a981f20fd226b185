import pytest
import torch
from oracle import Case, by_head, cases

from manyheads.attention.mask import Mask

HEADS = 4


@pytest.mark.parametrize("n", [1, 2, 5, 7])
def test_dense_is_the_definition_read_by_hand(n):
    for case in cases(n):
        dense = case.mask().dense(HEADS, torch.device("cpu")).expand(3, HEADS, case.queries, case.keys)
        for b, h, i, j in torch.cartesian_prod(*(torch.arange(size) for size in dense.shape)).tolist():
            assert bool(dense[b, h, i, j]) == case.sees(b, h, i, j), (case, b, h, i, j)


@pytest.mark.parametrize("case", cases(4), ids=lambda case: case.name)
def test_allowed_answers_for_single_places(case):
    mask = case.mask()
    for b, h, i, j in torch.cartesian_prod(*map(torch.arange, (3, HEADS, case.queries, case.keys))):
        assert bool(mask.allowed(b, h, i, j)) == case.sees(int(b), int(h), int(i), int(j))


@pytest.mark.parametrize("case", cases(5), ids=lambda case: case.name)
def test_blind_names_the_queries_that_see_nothing(case):
    blind = case.mask().blind(HEADS, torch.device("cpu"))
    expected = torch.tensor(
        [
            [
                [not any(case.sees(b, h, i, j) for j in range(case.keys)) for i in range(case.queries)]
                for h in range(HEADS)
            ]
            for b in range(3)
        ]
    )
    found = torch.zeros_like(expected) if blind is None else blind.squeeze(-1).expand(expected.shape)
    assert torch.equal(found, expected)


def test_axes_that_do_not_matter_stay_small():
    device = torch.device("cpu")
    assert Mask(5, 5, causal=True).dense(HEADS, device).shape == (1, 1, 5, 5)
    assert Mask(5, 7, lengths=torch.tensor([7, 2])).dense(HEADS, device).shape == (2, 1, 1, 7)
    assert Case("", 5, 5, pattern=by_head).mask().dense(HEADS, device).shape == (1, HEADS, 5, 5)


@pytest.mark.parametrize("case", cases(5), ids=lambda case: case.name)
def test_full_is_claimed_only_where_everything_is_seen(case):
    all_seen = bool(case.mask().dense(HEADS, torch.device("cpu")).all())
    assert not case.mask().full or all_seen


def test_dense_is_made_once():
    mask = Mask(3, 3, causal=True)
    assert mask.dense(HEADS, torch.device("cpu")) is mask.dense(HEADS, torch.device("cpu"))


def test_masks_share_nothing():
    device = torch.device("cpu")
    first, second = Mask(3, 3, causal=True), Mask(3, 3)
    assert not torch.equal(first.dense(1, device), second.dense(1, device).expand(1, 1, 3, 3))


def test_documents_must_name_every_key():
    with pytest.raises(ValueError, match=r"4 positions.*5 keys"):
        Mask(5, 5, documents=torch.zeros(2, 4, dtype=torch.long))
