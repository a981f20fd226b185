"""The linear model over a document's tokens, against its definition."""

import math

import torch

from manyheads.model.bag import BagOfWords

TOKENS, LABELS, DIM, SPECIAL = 20, 3, 16, (0, 1, 2, 4)
DOCUMENT, LENGTHS = torch.tensor([0, 0, 1, 2, 2]), torch.tensor([7, 4, 1, 7, 5])
same = {"rtol": 0, "atol": 1e-12}


def made() -> tuple[BagOfWords, torch.Tensor]:
    bag = BagOfWords(TOKENS, LABELS, DIM, SPECIAL).double()
    torch.nn.init.normal_(bag.table)
    return bag, torch.randint(TOKENS, (5, 7))


def defined(table: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Logits (k,) of one document, from all its words in a row."""
    words = [word for word in ids.tolist() if word not in SPECIAL]
    weights = {word: 1 + math.log(words.count(word)) for word in set(words)}
    length = math.sqrt(sum(weight**2 for weight in weights.values()))
    logits = table.new_zeros(LABELS)
    for word, weight in weights.items():
        logits = logits + math.sqrt(DIM) * weight / length * table[word]
    return logits


def joined(ids: torch.Tensor, d: int) -> torch.Tensor:
    return torch.cat([row[:n] for row, n, of in zip(ids, LENGTHS, DOCUMENT, strict=True) if of == d])


def test_values_and_gradients_are_those_of_the_definition():
    bag, ids = made()
    own = bag(ids, LENGTHS, DOCUMENT, 3)
    wanted = torch.stack([defined(bag.table, joined(ids, d)) for d in range(3)])
    torch.testing.assert_close(own, wanted, **same)
    weight = torch.randn_like(own)
    found, expected = (torch.autograd.grad((out * weight).sum(), bag.table)[0] for out in (own, wanted))
    torch.testing.assert_close(found, expected, **same)


def test_padding_and_other_documents_are_not_read():
    bag, ids = made()
    before = bag(ids, LENGTHS, DOCUMENT, 3)
    behind = torch.arange(7) >= LENGTHS.unsqueeze(1)
    assert torch.equal(bag(torch.where(behind, 19 - ids, ids), LENGTHS, DOCUMENT, 3), before)
    other = torch.where((DOCUMENT == 2).unsqueeze(1), 19 - ids, ids)
    assert torch.equal(bag(other, LENGTHS, DOCUMENT, 3)[:2], before[:2])


def test_a_document_without_words_has_no_opinion():
    bag, _ = made()
    ids = torch.tensor([[1, 2, 0], [1, 5, 2]])
    said = bag(ids, torch.tensor([2, 3]), torch.tensor([0, 1]), 2)
    assert not said[0].any()
    torch.testing.assert_close(said[1], math.sqrt(DIM) * bag.table[5], **same)


def test_it_begins_without_opinions():
    assert not BagOfWords(TOKENS, LABELS, DIM, SPECIAL).table.any()


def test_half_precision_comes_out_wide_and_close():
    bag, ids = made()
    wanted = bag(ids, LENGTHS, DOCUMENT, 3)
    own = bag.bfloat16()(ids, LENGTHS, DOCUMENT, 3)
    assert own.dtype == torch.float32
    torch.testing.assert_close(own, wanted.float(), rtol=0.05, atol=0.05)
