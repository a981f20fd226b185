import math
from dataclasses import replace

import pytest
import torch
from tiny import BLOCKS, JOINT, PAD, parts
from torch import nn

from manyheads.model.layers import MultiHead
from manyheads.model.shapes import EncoderDecoder

DIM, HIDDEN, KV = 64, 96, 2
SPEC = replace(JOINT, source_vocabulary=500, target_vocabulary=500)


def built(block: str, tie: bool = True) -> EncoderDecoder:
    widths = parts("learned", block, KV) | {"dim": DIM, "hidden": HIDDEN}
    return EncoderDecoder(SPEC, tie, encoder_layers=2, decoder_layers=3, **widths)


def xavier(fan_in: int, fan_out: int) -> float:
    return math.sqrt(2 / (fan_in + fan_out))


def assert_spread(weight: torch.Tensor, std: float) -> None:
    """Mean zero and this deviation, as closely as so many draws can tell."""
    weight = weight.detach()
    assert float(weight.std()) == pytest.approx(std, rel=0.1)
    assert abs(float(weight.mean())) < 5 * std / weight.numel() ** 0.5


def test_tables_start_small_and_padding_at_zero():
    model = built("modern", tie=False)
    for table in (model.embed_source.table, model.embed_target.table):
        assert table.weight[PAD].eq(0).all()
        assert_spread(torch.cat((table.weight[:PAD], table.weight[PAD + 1 :])), DIM**-0.5)
    assert_spread(model.head.weight, DIM**-0.5)
    assert_spread(model.encoder.position.table.weight, DIM**-0.5)


def test_a_tied_head_keeps_the_zero_of_padding():
    model = built("modern")
    assert model.head.weight[PAD].eq(0).all()
    assert_spread(model.head.weight[PAD + 1 :], DIM**-0.5)


def test_embedded_words_have_unit_variance():
    model = built("modern")
    assert_spread(model.embed_target(torch.arange(PAD + 1, 500)), 1.0)


@pytest.mark.parametrize("block", BLOCKS)
def test_heads_start_as_one_fused_matrix_would(block):
    """Queries, keys and values each on their own: a narrow matrix of keys must not borrow the width of the others."""
    for layer in (m for m in built(block).modules() if isinstance(m, MultiHead)):
        k, v = layer.kv.weight.chunk(2)
        narrow = KV * layer.attention.head_dim
        assert_spread(layer.q.weight, xavier(DIM, DIM) / math.sqrt(2))
        assert_spread(k, xavier(DIM, narrow) / math.sqrt(2))
        assert_spread(v, xavier(DIM, narrow) / math.sqrt(2))


@pytest.mark.parametrize(("block", "calm"), [("modern", True), ("vaswani2017", False)])
def test_pre_norm_sublayers_end_calmer_the_more_there_are(block, calm):
    model = built(block)
    for stack, sublayers in ((model.encoder, 2 * 2), (model.decoder, 3 * 3)):
        by = math.sqrt(sublayers) if calm else 1.0
        for layer in stack.blocks:
            assert_spread(layer.read_own.inner.out.weight, xavier(DIM, DIM) / by)
            assert_spread(layer.think.inner.down.weight, xavier(HIDDEN, DIM) / by)
            assert_spread(layer.think.inner.up.weight, xavier(DIM, HIDDEN))
            if layer.read_context is not None:
                assert_spread(layer.read_context.inner.out.weight, xavier(DIM, DIM) / by)


def test_biases_start_at_zero_and_norms_at_one():
    model = built("vaswani2017")
    biases = [m.bias for m in model.modules() if isinstance(m, nn.Linear)]
    assert biases
    assert all(bias.eq(0).all() for bias in biases)
    for norm in (m for m in model.modules() if isinstance(m, nn.LayerNorm)):
        assert norm.weight.eq(1).all()
        assert norm.bias.eq(0).all()


def test_modern_blocks_have_no_biases():
    assert not [name for name, _ in built("modern").named_parameters() if name.endswith("bias")]


def test_the_seed_decides_all_weights():
    def state(seed: int) -> dict:
        torch.manual_seed(seed)
        return built("modern").state_dict()

    first, again, other = state(1), state(1), state(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[n], other[n]) for n in first if n.endswith("weight") and "norm" not in n)


def test_models_start_undecided():
    """Before training, scores have unit variance: the loss is about log V + 1/2.

    Tied models start higher, since the residual carries the last word read on to its own score.
    """
    model = built("modern", tie=False).eval()
    source, target = torch.randint(5, 500, (8, 9)), torch.randint(5, 500, (8, 9))
    lengths = torch.full((8,), 9)
    states, labels = model.teach(source, lengths, target, lengths)
    scored = model.head.loss(states, labels, 0.0)
    assert float(scored.loss.detach()) / scored.count == pytest.approx(math.log(500) + 0.5, abs=0.3)
