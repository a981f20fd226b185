"""Words that are left out while a model trains, against the plain definition."""

import pytest
import torch

from manyheads.model.thin import draw, thinned

TOKENS, SPECIAL = 30, (0, 1, 2, 4)
DOCUMENT, LENGTHS = torch.tensor([0, 0, 1, 2, 2]), torch.tensor([9, 4, 1, 7, 5])


def test_what_stays_keeps_its_order():
    ids = torch.randint(TOKENS, (5, 9))
    kept = torch.rand(3, TOKENS) < 0.5
    kept[:, ids[2, 0]] = True
    found, lengths = thinned(ids, LENGTHS, DOCUMENT, kept)
    wanted = [
        [word for word in row[:n].tolist() if kept[of, word]] for row, n, of in zip(ids, LENGTHS, DOCUMENT, strict=True)
    ]
    assert [row[:n].tolist() for row, n in zip(found, lengths, strict=True)] == wanted
    assert found.size(1) == max(map(len, wanted))


def test_nothing_left_out_is_nothing_changed():
    ids = torch.randint(TOKENS, (5, 9))
    found, lengths = thinned(ids, LENGTHS, DOCUMENT, torch.ones(3, TOKENS, dtype=torch.bool))
    real = torch.arange(9) < LENGTHS.unsqueeze(1)
    assert torch.equal(lengths, LENGTHS)
    assert torch.equal(found[real], ids[real])


def test_padding_stays_out():
    ids, kept = torch.randint(TOKENS, (5, 9)), torch.rand(3, TOKENS) < 0.5
    kept[:, list(SPECIAL)] = True
    behind = torch.arange(9) >= LENGTHS.unsqueeze(1)
    (own, n), (other, m) = (thinned(x, LENGTHS, DOCUMENT, kept) for x in (ids, ids.masked_fill(behind, 1)))
    assert torch.equal(n, m)
    real = torch.arange(own.size(1)) < n.unsqueeze(1)
    assert torch.equal(own[real], other[real])


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_the_share_is_drawn_for_each_document_and_never_of_special_tokens(share):
    kept = draw(400, TOKENS, share, SPECIAL, torch.device("cpu"))
    assert kept[:, list(SPECIAL)].all()
    words = kept[:, [word for word in range(TOKENS) if word not in SPECIAL]].double()
    assert words.mean().item() == pytest.approx(1 - share, abs=0.02)
    assert share == 0 or not torch.equal(words[0], words[1])
