import pytest
import torch

from manyheads import build
from manyheads.attention.softmax import Softmax
from manyheads.config.compose import compose
from manyheads.config.layers import name_layers, title
from manyheads.data.base import TokenSpec
from manyheads.errors import UserError
from manyheads.model.layers import CrossAttention, SelfAttention

SPEC = TokenSpec(
    kind="translation", longest=32, source_vocabulary=60, target_vocabulary=60, joint=True, pad=0, bos=1, eos=2, sep=4
)


def made(*overrides: str, chosen: str = "dense"):
    cfg = compose([f"attention={chosen}", "model.decoder_layers=3", *overrides])
    name_layers(cfg, chosen)
    return build.model(cfg, SPEC), cfg


def widths(model, kind) -> list[int | None]:
    attentions = [layer.attention for layer in model.modules() if type(layer) is kind]
    return [attention.pattern and attention.pattern.width for attention in attentions]


def test_layers_take_turns_and_encoder_and_decoder_count_from_their_own_first():
    model, cfg = made("layers_attention=[sliding_window,dense]")
    assert widths(model, SelfAttention) == [256, None, 256, None, 256]
    assert title(cfg, "dense") == "sliding_window+dense"


def test_the_chosen_attention_keeps_what_was_set_in_it():
    overrides = ("layers_attention=[dense,sliding_window]", "attention.pattern.width=7", "attention.kv_heads=2")
    model, _ = made(*overrides, chosen="sliding_window")
    assert widths(model, SelfAttention) == [None, 7, None, 7, None]
    assert [layer.attention.kv_heads for layer in model.modules() if type(layer) is SelfAttention] == [4, 2, 4, 2, 4]


def test_what_was_typed_counts_more_than_what_a_recipe_means_by_the_name():
    typed = ("experiment=demo", "attention.pattern.width=7")
    for overrides, width in ((typed, 7), (typed[:1], 16)):
        cfg = compose(["attention=sliding_window", *overrides])
        name_layers(cfg, "sliding_window", overrides)
        assert cfg.attention.pattern.width == cfg.model.attention.pattern.width == width
        assert cfg.attention._target_.endswith("Softmax")


def test_another_attention_between_sequences():
    model, cfg = made("cross_attention=gqa")
    kinds = [(type(layer), layer.attention.kv_heads) for layer in model.modules() if hasattr(layer, "attention")]
    assert [g for kind, g in kinds if kind is CrossAttention] == [2, 2, 2]
    assert [g for kind, g in kinds if kind is SelfAttention] == [4] * 5
    assert title(cfg, "dense") == "dense-across-gqa"
    source = torch.randint(5, 60, (2, 7))
    model.eval()(source, torch.tensor([7, 3]), source)


def test_a_config_holds_what_its_names_meant():
    _, cfg = made("layers_attention=[sliding_window]")
    cfg.attentions.sliding_window.pattern.width = 3
    name_layers(cfg, "dense")
    assert widths(build.model(cfg, SPEC), SelfAttention) == [3] * 5


def test_more_names_than_layers_are_refused():
    with pytest.raises(UserError, match="names 4 attentions, but no part of the model has more than 3 layers"):
        made("layers_attention=[dense,gqa,dense,gqa]")


def test_an_unknown_name_is_refused():
    with pytest.raises(Exception, match="sliding"):
        made("layers_attention=[slidng_window]")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["layers_attention=[]"], "layers_attention names no attention"),
        (["layers_attention=[rope,dense]"], "attention=rope sets more than the attention"),
        (["cross_attention=sliding_window"], "would hide nothing between two"),
        (["cross_attention=gqa", "model=decoder_only"], "no attention between sequences"),
    ],
)
def test_what_would_change_nothing_is_refused(overrides, words):
    with pytest.raises(UserError, match=words):
        build.model(compose(overrides), SPEC)


def test_values_of_an_attention_that_no_layer_takes_are_refused():
    cfg = compose(["attention=gqa", "attention.kv_heads=1", "layers_attention=[sliding_window]"])
    with pytest.raises(UserError, match=r"attention=gqa would change nothing, since no layer takes gqa"):
        name_layers(cfg, "gqa", ["attention=gqa", "attention.kv_heads=1"])


def test_single_values_of_a_named_attention_can_be_set():
    model, _ = made("layers_attention=[sliding_window,dense]", "+attentions.sliding_window.pattern.width=4")
    assert widths(model, SelfAttention) == [4, None, 4, None, 4]
    with pytest.raises(UserError, match=r"attentions\.sliding_window\.pattern\.widht is unknown"):
        made("layers_attention=[sliding_window]", "+attentions.sliding_window.pattern.widht=4")


def test_without_names_nothing_changes():
    model, cfg = made()
    assert cfg.attentions is None
    assert all(type(layer.attention) is Softmax for layer in model.modules() if hasattr(layer, "attention"))
