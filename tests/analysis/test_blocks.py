"""Maps of few cells against the whole matrix, summed by hand."""

from collections.abc import Callable

import pytest
import torch
from every_attention import ATTENTIONS, factory

from manyheads.analysis import blocks
from manyheads.analysis.blocks import edges, mapped, sampled
from manyheads.analysis.capture import Read
from manyheads.analysis.measures import disagreement, distance, effective, entropy
from manyheads.attention.mask import Mask

HEADS, D = 4, 8


def read(attention: Callable, mask: Mask, real: int | None = None, across: bool = False) -> Read:
    made = attention(heads=HEADS, head_dim=D, layer=0).double().eval()
    q = torch.randn(1, HEADS, mask.queries, D).double() * 2
    k = torch.randn(1, made.kv_heads, mask.keys, D).double() * 2
    known = torch.arange(mask.queries) < (mask.queries if real is None else real)
    return Read("encoder.0", across, tuple(range(HEADS)), made, q, k, mask, None, None, None, known)


def test_edges_are_even_and_whole():
    for length in (1, 5, 63, 64, 65, 100, 1000):
        found = edges(length, 64)
        sizes = found.diff()
        assert found[0] == 0
        assert found[-1] == length
        assert len(sizes) == min(length, 64)
        assert sizes.max() - sizes.min() <= 1


def test_sampled_queries_lie_in_their_blocks():
    rows, block = sampled(torch.tensor([0, 1, 5, 12]), 3)
    assert rows.tolist() == [0, 1, 3, 4, 6, 8, 10]
    assert block.tolist() == [0, 1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("name", ATTENTIONS)
@pytest.mark.parametrize("causal", [False, True])
def test_a_short_documents_map_is_its_weights(name, causal, monkeypatch):
    monkeypatch.setattr(blocks, "AT_ONCE", 100)
    n, real = 11, 9
    one = read(factory(name), Mask(n, n, causal=causal, lengths=torch.tensor([real])), real)
    found, whole = mapped(one, 64, 2), one.weights(torch.arange(real))[..., :real]
    assert found.exact
    torch.testing.assert_close(torch.tensor(found.mass), whole)
    assert torch.equal(torch.tensor(found.seen), one.seen(torch.arange(real))[..., :real])
    torch.testing.assert_close(torch.tensor(found.entropy), entropy(whole))
    torch.testing.assert_close(torch.tensor(found.effective), effective(whole))
    torch.testing.assert_close(torch.tensor(found.distance), distance(whole, torch.arange(real)))
    torch.testing.assert_close(torch.tensor(found.disagreement), disagreement(whole))


@pytest.mark.parametrize("each", [2, 99])
@pytest.mark.parametrize("name", ["flash", "sliding_window", "bigbird", "linear"])
def test_cells_of_a_long_document_are_sums_over_keys_and_means_over_queries(name, each, monkeypatch):
    monkeypatch.setattr(blocks, "AT_ONCE", 3000)
    n = 101
    one = read(factory(name), Mask(n, n))
    found, whole = mapped(one, 8, each), one.weights(torch.arange(n))
    rows, block = sampled(edges(n, 8), each)
    bounds = list(zip(found.columns[:-1].tolist(), found.columns[1:].tolist(), strict=True))
    assert not found.exact
    for y in range(8):
        own = whole[:, rows[block == y]]
        for x, (begin, end) in enumerate(bounds):
            expected = own[..., begin:end].sum(-1).mean(-1)
            torch.testing.assert_close(torch.tensor(found.mass[:, y, x]), expected)
    torch.testing.assert_close(torch.tensor(found.mass).sum(-1), torch.ones(HEADS, 8).double(), atol=1e-4, rtol=0)
    assert (torch.tensor(found.mass)[~torch.tensor(found.seen)] == 0).all()


def test_across_sequences_there_is_no_distance():
    one = read(factory("dense"), Mask(5, 9, lengths=torch.tensor([6]), cross=True), 4, across=True)
    found = mapped(one, 64, 2)
    assert found.distance is None
    assert found.mass.shape == (HEADS, 4, 6)


def test_cached_queries_stand_where_they_stand():
    one = read(factory("dense"), Mask(2, 9, causal=True))
    found = mapped(one, 64, 2)
    assert found.mass.shape == (HEADS, 2, 9)
    torch.testing.assert_close(
        torch.tensor(found.distance), distance(one.weights(torch.arange(2)), torch.tensor([7, 8]))
    )


def test_a_document_of_padding_alone_has_a_map_of_nothing():
    found = mapped(read(factory("dense"), Mask(5, 5, lengths=torch.tensor([0])), 0), 64, 2)
    assert not found.mass.any()
