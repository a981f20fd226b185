"""What is noted of a pass is what the attentions were asked, and the pass is what it would have been."""

from functools import partial

import pytest
import torch
from every_attention import ATTENTIONS, factory
from tiny import APART, PAD, beyond, decoder_only, encoder_decoder, encoder_only, grown, pairs

from manyheads.analysis.capture import captured, of_row
from manyheads.attention.mask import Mask

DOCUMENTS = 2


def batch() -> tuple[torch.Tensor, ...]:
    """Pairs whose padding is padding."""
    source, source_lengths, target, target_lengths = pairs()
    source[torch.arange(source.size(1)) >= source_lengths.unsqueeze(1)] = PAD
    target[torch.arange(target.size(1)) >= target_lengths.unsqueeze(1)] = PAD
    return source, source_lengths, target, target_lengths


@pytest.mark.parametrize("name", ATTENTIONS)
def test_a_watched_pass_is_the_same_to_the_bit(name):
    model = grown(encoder_decoder(attention=factory(name)))
    given = batch()[:3]
    with torch.no_grad():
        plain, random = model(*given), torch.get_rng_state()
        with captured(model, DOCUMENTS) as reads:
            watched = model(*given)
        assert torch.equal(watched, plain)
        assert torch.equal(torch.get_rng_state(), random)
        assert torch.equal(model(*given), plain)
    assert len(reads) == 6
    assert not any("attend" in vars(module) for module in model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_training_pass_drops_and_learns_the_same():
    def step(watch: bool) -> list[torch.Tensor]:
        torch.manual_seed(1)
        model = encoder_decoder(dropout=0.2, attention=factory("dense", "attention.dropout=0.3")).train()
        torch.manual_seed(2)
        if watch:
            with captured(model, DOCUMENTS):
                model(*batch()[:3]).square().sum().backward()
        else:
            model(*batch()[:3]).square().sum().backward()
        return [p.grad for p in model.parameters() if p.grad is not None]

    assert all(torch.equal(a, b) for a, b in zip(step(True), step(False), strict=True))


@pytest.mark.parametrize("position", ["none", "rope", "alibi", "learned"])
def test_rows_weigh_the_values_to_what_was_read(position):
    model, found = grown(encoder_decoder(position)), {}

    # What each attention was given and gave: noted by a second wrapper around it.
    for name, module in model.named_modules():
        if hasattr(module, "attend"):
            module.attend = partial(_spied, module.attend, name, found)
    with torch.no_grad(), captured(model, DOCUMENTS) as reads:
        model(*batch()[:3])
    assert list(reads) == ["encoder.0", "encoder.1", "decoder.0", "decoder.0.cross", "decoder.1", "decoder.1.cross"]
    for (v, out), of_layer in zip(found.values(), reads.values(), strict=True):
        assert len(of_layer) == DOCUMENTS
        for row, read in enumerate(of_layer):
            weights = read.weights(torch.arange(out.size(2)))
            share = weights.size(0) // v.size(1)
            torch.testing.assert_close(weights @ v[row].repeat_interleave(share, 0), out[row])


def _spied(attend, name, found, q, k, v, mask, bias=None):
    out = attend(q, k, v, mask, bias)
    found[name] = v, out
    return out


def test_tokens_and_padding_are_known():
    source, source_lengths, target, _ = given = batch()
    model = grown(encoder_decoder(spec=APART))
    with torch.no_grad(), captured(model, 4) as reads:
        model(*given[:3])
    for row in range(4):
        encoder, decoder, cross = (reads[name][row] for name in ("encoder.1", "decoder.1", "decoder.0.cross"))
        assert torch.equal(encoder.query_ids, source[row])
        assert torch.equal(encoder.key_ids, source[row])
        assert encoder.real.sum() == source_lengths[row]
        assert torch.equal(decoder.query_ids, target[row])
        assert torch.equal(decoder.real, target[row] != PAD)
        assert torch.equal(cross.query_ids, target[row])
        assert torch.equal(cross.key_ids, source[row])
        assert torch.equal(cross.real, target[row] != PAD)
        assert cross.across
        assert not encoder.across


def test_only_the_first_pass_is_noted():
    model = grown(decoder_only())
    first, second = batch()[0], beyond(batch()[0], torch.zeros(4))
    with torch.no_grad(), captured(model, 1) as reads:
        model(first)
        model(second)
    assert torch.equal(reads["decoder.0"][0].query_ids, first[0])


def test_more_documents_than_there_are():
    model = grown(encoder_only())
    with torch.no_grad(), captured(model, 99) as reads:
        model(*batch()[:2])
    assert [len(found) for found in reads.values()] == [4, 4]


def test_heads_keep_the_numbers_that_they_had_before_pruning():
    model = grown(encoder_only())
    model.encoder.blocks[0].read_own.inner.kept = (0, 2, 3, 5)
    with torch.no_grad(), captured(model, 1) as reads:
        model(*batch()[:2])
    assert [found[0].heads for found in reads.values()] == [(0, 2, 3, 5), (0, 1, 2, 3)]


def test_nothing_is_left_behind_by_a_pass_that_fails():
    model = grown(encoder_only())
    with pytest.raises(IndexError), captured(model, 1):
        model(batch()[0] + 10**6, None)
    assert not any("attend" in vars(module) or module._forward_hooks for module in model.modules())


def test_a_mask_of_one_row_says_the_same_of_it():
    n, b = 9, 3
    mask = Mask(
        n, n + 2, True, torch.tensor([9, 4, 1]), torch.arange(n + 2).div(3).expand(b, -1), None, torch.tensor([0, 1, 2])
    )
    whole = mask.dense(1, torch.device("cpu"))
    for row in range(b):
        assert torch.equal(of_row(mask, row).dense(1, torch.device("cpu"))[0], whole[row])
