"""Compiled blocks compute the same, keep their names, and leave evaluation alone."""

import pytest
import torch
from small import loss_of, translator

from manyheads.model.stack import blocks
from manyheads.training.compile import compile_blocks


@pytest.fixture(autouse=True)
def forgotten():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.fixture
def graphs():
    """How often something compiled has run; what is compiled runs as it was traced."""
    runs = []

    def backend(graph, inputs):
        return lambda *args: (runs.append(1), graph(*args))[1]

    return runs, backend


@pytest.mark.parametrize("shape", ["decoder_only", pytest.param("encoder_decoder", marks=pytest.mark.slow)])
@pytest.mark.parametrize("again", ["false", "true"], ids=["kept", "recomputed"])
def test_the_same_loss_and_gradients_under_the_same_names(graphs, shape, again):
    runs, backend = graphs
    plain = translator(shape, "model.dropout=0")
    other = translator(shape, "model.dropout=0", f"activation_checkpointing={again}")
    compile_blocks(blocks(other), backend=backend)
    losses = [loss_of(model) for model in (plain, other)]
    for loss in losses:
        loss.backward()
    assert len(runs) >= len(blocks(other))
    torch.testing.assert_close(*losses)
    assert list(plain.state_dict()) == list(other.state_dict())
    assert [name for name, _ in plain.named_parameters()] == [name for name, _ in other.named_parameters()]
    for one, compiled in zip(plain.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one.grad, compiled.grad)


def test_evaluation_is_not_compiled(graphs):
    runs, backend = graphs
    model = translator("decoder_only")
    compile_blocks(blocks(model), backend=backend)
    loss_of(model.eval())
    assert not runs
    loss_of(model.train())
    assert runs
