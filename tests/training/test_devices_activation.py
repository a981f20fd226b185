"""What is computed again for its gradient comes out the same, dropout and all, and is not kept meanwhile."""

import pytest
import torch
from small import SHAPES, loss_of, translator

from manyheads.model.stack import blocks


def two(shape):
    return (translator(shape, "model.dropout=0.3", f"activation_checkpointing={on}") for on in ("false", "true"))


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_the_same_to_the_bit(shape):
    plain, other = two(shape)
    for model in (plain, other):
        torch.manual_seed(7)
        loss_of(model).backward()
    assert list(plain.state_dict()) == list(other.state_dict())
    for one, again in zip(plain.parameters(), other.parameters(), strict=True):
        assert torch.equal(one.grad, again.grad)
    torch.manual_seed(8)
    other.zero_grad()
    loss_of(other).backward()
    assert not torch.equal(next(plain.parameters()).grad, next(other.parameters()).grad)  # dropout has its say


def kept(model):
    """Bytes that autograd keeps between forward and backward, beyond the weights."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    sizes = {}

    def note(x):
        if x.untyped_storage().data_ptr() not in weights:
            sizes[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        loss = loss_of(model)
    del loss
    return sum(sizes.values())


def test_a_block_keeps_little_more_than_its_input():
    plain, other = two("decoder_only")
    assert kept(other) < kept(plain) / 2


def test_evaluation_computes_once():
    _, model = two("decoder_only")
    calls = []
    for block in blocks(model):
        block.read_own.register_forward_hook(lambda *_: calls.append(1))
    loss_of(model).backward()
    assert len(calls) == 2 * len(blocks(model))
    calls.clear()
    model.eval()
    loss_of(model).backward()
    assert len(calls) == len(blocks(model))
