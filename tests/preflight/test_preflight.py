"""Each check fails on a model that is broken in just its way, names the layer, and passes on every sound model."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from manyheads import preflight
from manyheads.attention.linear import Linear
from manyheads.attention.softmax import Softmax
from manyheads.config.compose import compose
from manyheads.config.objects import instantiate
from manyheads.config.places import conf_folder
from manyheads.data.base import TokenSpec
from manyheads.errors import UserError
from manyheads.model.layers import FeedForward
from manyheads.preflight.kernels import SHORT

SPEC = TokenSpec(
    kind="translation", longest=32, source_vocabulary=60, target_vocabulary=60, joint=True, pad=0, bos=1, eos=2, sep=4
)
CPU = torch.device("cpu")
SHAPES = ("encoder_only", "decoder_only", "encoder_decoder")
ATTENTIONS = sorted(file.stem for file in (conf_folder() / "attention").glob("*.yaml"))
TINY = ("model.dim=16", "model.heads=4", "model.hidden=24")
NAMES = ["heads", "future", "padding", "rows", "gradients", "documents", "scores", "kernels"]


def build(shape: str, *overrides: str) -> nn.Module:
    sizes = ("encoder_layers", "decoder_layers") if shape == "encoder_decoder" else ("layers",)
    layers = [f"model.{size}=2" for size in sizes]
    return instantiate(compose([f"model={shape}", *TINY, *layers, *overrides]).model)(spec=SPEC)


def failed(model: nn.Module, precision: str | int = 32) -> dict[str, str]:
    """Sentences of the checks that did not pass, by name."""
    return {name: words for name, ok, words in preflight.examine(model, precision, CPU) if not ok}


# --- sound models --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "overrides",
    [
        ("attention=dense", "attention.kernel=reference", "model/block=vaswani2017", "position=sinusoidal"),
        ("attention=gqa", "position=alibi"),
        ("attention=sliding_window", "attention.pattern.width=2", "attention.pattern.globals=1"),
        ("attention=bigbird", "attention.pattern.block=4", "attention.kernel=sdpa"),
    ],
    ids=" ".join,
)
def test_sound_models_pass(shape, overrides):
    found = preflight.examine(build(shape, *overrides), 32, CPU)
    assert [finding.name for finding in found] == NAMES
    assert all(finding.ok for finding in found), found


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_every_attention_passes_as_it_comes(shape, attention, tmp_path):
    # None may refuse: what cannot run on what a shape asks of it is no preset.
    assert failed(build(shape, f"attention={attention}", f"paths.cache={tmp_path}")) == {}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("limit", [8, 12, 16])
def test_positions_that_end_soon(shape, limit):
    model = build(shape, "position=learned", f"position.limit={limit}")
    assert failed(model) == {}
    if shape != "encoder_only":
        model.get_submodule(OWN).attention.__class__ = Early
        assert "future" in failed(model)


@pytest.mark.parametrize(
    "precision", ["bf16-mixed", *(pytest.param(p, marks=pytest.mark.slow) for p in ("bf16-true", "64-true"))]
)
@pytest.mark.parametrize("attention", ["dense", "sliding_window", "linear", "performer"])
def test_sound_models_pass_in_other_precisions(attention, precision):
    assert failed(build("encoder_decoder", f"attention={attention}"), precision) == {}


def test_a_pattern_is_compared_at_a_length_where_it_hides_something():
    model = build("decoder_only", "attention=sliding_window", f"attention.pattern.width={SHORT}")
    assert failed(model) == {}
    for layer in heads(model):
        layer.attention.__class__ = Patternless
    assert "kernels" in failed(model)


@pytest.mark.parametrize("shape", ["encoder_only", "decoder_only"])
@pytest.mark.parametrize("attention", ["sliding_window", "bigbird"])
def test_a_preset_without_its_pattern_is_noticed(shape, attention):
    model = build(shape, f"attention={attention}")
    for layer in heads(model):
        layer.attention.__class__ = Patternless
    assert "kernels" in failed(model)


def test_rows_of_different_lengths_are_compared_where_a_pattern_hides_something():
    model = build("encoder_only", "attention=sliding_window", f"attention.pattern.width={SHORT}")
    for layer in heads(model):
        layer.attention.__class__ = DeafWhenLong
    assert "kernels" in failed(model)


# --- broken models -------------------------------------------------------------------------------------------------


class Early(Softmax):
    """The causal edge stands one key too far to the right."""

    def attend(self, q, k, v, mask, bias=None):
        return super().attend(q, k, v, replace(mask, offset=mask.offset + 1) if mask.causal else mask, bias)


class Deaf(Softmax):
    """Padding is read."""

    def attend(self, q, k, v, mask, bias=None):
        return super().attend(q, k, v, replace(mask, lengths=None), bias)


class Packless(Softmax):
    """Documents are one text."""

    def attend(self, q, k, v, mask, bias=None):
        return super().attend(q, k, v, replace(mask, documents=None), bias)


class Patternless(Softmax):
    """The pattern is forgotten."""

    def attend(self, q, k, v, mask, bias=None):
        return self.choose(q, k, mask, bias, None)(q, k, v, mask, bias, 0.0, None)


class DeafWhenLong(Softmax):
    """Padding is read by long inputs."""

    def attend(self, q, k, v, mask, bias=None):
        return super().attend(q, k, v, mask if mask.keys <= SHORT else replace(mask, lengths=None), bias)


class Unscaled(Softmax):
    """Scores are not divided by √d."""

    def attend(self, q, k, v, mask, bias=None):
        return super().attend(q * self.head_dim**0.5, k, v, mask, bias)


class Sociable(Softmax):
    """Rows see each other."""

    def attend(self, q, k, v, mask, bias=None):
        out = super().attend(q, k, v, mask, bias)
        return out + 0.1 * out.mean(0, keepdim=True)


class Inexact(Softmax):
    """Off by a hundredth."""

    def attend(self, q, k, v, mask, bias=None):
        return 1.01 * super().attend(q, k, v, mask, bias)


class InexactSums(Linear):
    """The same of a rule without scores."""

    def attend(self, q, k, v, mask, bias=None):
        return 1.01 * super().attend(q, k, v, mask, bias)


class WrongBackward(Softmax):
    """Right values; the gradient of v is off by a hundredth."""

    def attend(self, q, k, v, mask, bias=None):
        return super().attend(q, k, v + 0.01 * (v - v.detach()), mask, bias)


class Forgetful(FeedForward):
    """Computes without its second matrix."""

    def forward(self, x):
        return nn.functional.relu(self.up(x))[..., : x.size(-1)]


def heads(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if hasattr(module, "attention")]


def broken(shape: str, layer: str, kind: type) -> nn.Module:
    model = build(shape)
    model.get_submodule(layer).attention.__class__ = kind
    return model


def assert_fails(model: nn.Module, name: str, *words: str) -> None:
    found = failed(model)
    assert name in found
    assert all(word in found[name] for word in words), found[name]


OWN, CONTEXT = "decoder.blocks.1.read_own.inner", "decoder.blocks.1.read_context.inner"


@pytest.mark.parametrize("shape", ["decoder_only", "encoder_decoder"])
def test_future(shape):
    assert_fails(broken(shape, OWN, Early), "future", OWN, "%")


def test_padding_of_an_encoder():
    layer = "encoder.blocks.1.read_own.inner"
    assert_fails(broken("encoder_only", layer, Deaf), "padding", layer, "%")
    assert_fails(broken("encoder_decoder", layer, Deaf), "padding", layer, "%")


def test_padding_of_what_a_decoder_reads():
    assert_fails(broken("encoder_decoder", CONTEXT, Deaf), "padding", CONTEXT, "%")


@pytest.mark.parametrize("shape", SHAPES)
def test_documents(shape):
    layer = OWN if shape == "decoder_only" else "encoder.blocks.0.read_own.inner"
    assert_fails(broken(shape, layer, Packless), "documents", layer, "%")


@pytest.mark.parametrize("shape", SHAPES)
def test_rows(shape):
    layer = "encoder.blocks.0.read_own.inner" if shape != "decoder_only" else OWN
    assert_fails(broken(shape, layer, Sociable), "rows", layer, "%")


@pytest.mark.parametrize("layer", [OWN, CONTEXT])
def test_scores(layer):
    found = failed(broken("encoder_decoder", layer, Unscaled))
    # Heads of size 4: the variance is 4 instead of 1.
    assert layer in found["scores"]
    assert "variance 4" in found["scores"]


@pytest.mark.parametrize("kind", [Inexact, WrongBackward])
def test_kernels(kind):
    what = "output" if kind is Inexact else "gradient of v"
    assert_fails(broken("encoder_decoder", CONTEXT, kind), "kernels", CONTEXT, "sdpa", what, "1 %")


def test_kernels_of_other_rules():
    model = build("decoder_only", "attention=linear")
    model.get_submodule(OWN).attention.__class__ = InexactSums
    assert_fails(model, "kernels", OWN, "output", "1 %")


def test_scores_says_where_there_are_none():
    (found,) = (f for f in preflight.examine(build("decoder_only", "attention=linear"), 32, CPU) if f.name == "scores")
    assert found == ("scores", True, "Linear has no scores")


def test_gradients_of_a_parameter_that_nothing_reads():
    model = build("decoder_only")
    model.forgotten = nn.Parameter(torch.randn(3))
    assert_fails(model, "gradients", "forgotten")
    model.forgotten.requires_grad_(False)
    assert failed(model) == {}


def test_gradients_that_are_zero_throughout():
    model = build("encoder_only", "model/block=vaswani2017")
    model.encoder.blocks[0].think.inner.__class__ = Forgetful
    assert_fails(model, "gradients", "encoder.blocks.0.think.inner.down.weight", "1 more")


def test_heads_that_do_not_divide():
    model = build("encoder_decoder")
    model.get_submodule(OWN).attention.kv_heads = 3
    assert_fails(model, "heads", OWN, "3 key-value heads", "4 query heads")


def test_projections_that_do_not_fit():
    model = build("encoder_decoder")
    model.get_submodule(OWN).q = nn.Linear(16, 12)
    assert_fails(model, "heads", OWN, "q is 12 wide instead of 16")


# --- how it behaves --------------------------------------------------------------------------------------------------


def test_a_failed_check_stops_in_one_sentence():
    with pytest.raises(UserError, match=r"^The check of future .* failed: decoder\S+ sees the future: .*\)\.$"):
        preflight.check(broken("decoder_only", OWN, Early), 32, CPU)


def count(module: nn.Module, given: tuple, out: torch.Tensor) -> None:
    """A forward that writes into a buffer."""
    module.seen.add_(1)


def test_it_leaves_no_trace():
    model = build("encoder_decoder", "model.dropout=0.5")
    model.encoder.eval()
    model.embed_target.register_buffer("seen", torch.zeros(()))
    model.embed_target.register_forward_hook(count)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    dice = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    preflight.check(model, "bf16-mixed", CPU)
    assert torch.equal(torch.get_rng_state(), dice[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == dice[1:]
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert model.training
    assert not model.encoder.training
    assert all(p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules() if module is not model.embed_target)


def test_a_model_that_it_does_not_know_is_asked_in_parts():
    model = nn.Sequential(build("decoder_only"))
    assert [finding.name for finding in preflight.examine(model, 32, CPU)] == [NAMES[0], *NAMES[5:]]
