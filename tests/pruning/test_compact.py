"""Compact models beyond the matrix: what stays as it is, what must not happen, and what pruning leaves at its ends."""

import gc
import weakref
from copy import deepcopy

import pytest
import torch
from families import SPECS, answers, attention, build, grown, loss, mixed
from gated import differ, draw, weigh_by_hand
from torch import nn

from manyheads import preflight
from manyheads.attention.kernels import flash
from manyheads.attention.mask import Mask
from manyheads.attention.softmax import Softmax
from manyheads.data.base import TokenSpec
from manyheads.model.init import start_weights
from manyheads.model.layers import Constant
from manyheads.model.stack import blocks
from manyheads.preflight.heads import seats
from manyheads.pruning.architecture import Architecture, narrow
from manyheads.pruning.compact import Origin, closed_units, compact
from manyheads.pruning.gates import Gates, put
from manyheads.pruning.sites import sites
from manyheads.training.activation import recompute
from manyheads.training.flops import Counter

SLACK = 1e-10
PAIRS = ("translation", "encoder_decoder")


def translator(position="alibi", block="modern", kv_heads="null", shape="encoder_decoder", **changes) -> nn.Module:
    own = changes.pop("attention", None) or attention("dense", f"attention.kv_heads={kv_heads}")
    return grown(build(changes.pop("kind", "translation"), shape, own, position, block, **changes))


def gated(model: nn.Module, gates: Gates) -> tuple[nn.Module, nn.Module]:
    """The model with its gates, and a copy of which they have left what they leave."""
    small = deepcopy(model)
    for one in (model, small):
        put(one, gates)
    compact(small)
    return model, small


def closed(model: nn.Module, **units: list[int] | None) -> Gates:
    """Gates by the ends of the sites' names (`read_own=[0, 2]`): these units are closed; None: the whole sublayer."""
    found, layers = {}, {}
    for site in sites(model):
        found[site.name] = torch.ones(site.part.units)
        end = site.name.rpartition(".")[2]
        if end in units and units[end] is None:
            layers[site.name] = torch.tensor(0.0)
        elif end in units:
            found[site.name][units[end]] = 0.0
    return Gates(found, layers)


# --- what stays -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["encoder_decoder", "decoder_only"])
def test_tied_tables_stay_tied(shape):
    model = translator(shape=shape)
    _, small = gated(model, draw(model, 0))
    again = build("translation", shape, attention("dense"), "alibi", "modern").double()
    narrow(again, Architecture.of(small))
    again.load_state_dict(small.state_dict())
    table = "embed_target" if shape == "encoder_decoder" else "embed"
    for one in (small, again):
        assert one.head.weight.data_ptr() == one.get_submodule(table).table.weight.data_ptr()
        assert one.head.weight is one.get_submodule(table).table.weight


def test_tables_of_their_own_stay_apart():
    apart = {**vars(SPECS["translation"]), "source_vocabulary": 29, "joint": False}
    model = translator(spec=TokenSpec(**apart), tie=False)
    model, small = gated(model, draw(model, 1))
    assert differ("translation", model, small) < SLACK
    assert small.head.weight is not small.embed_target.table.weight


def test_without_gates_nothing_is_touched():
    model = translator()
    before = dict(model.named_parameters(remove_duplicate=False))
    origins = compact(model)
    after = dict(model.named_parameters(remove_duplicate=False))
    assert all(after[name] is weight for name, weight in before.items())
    assert origins == {name: Origin(name) for name in before}


@pytest.mark.parametrize("training", [True, False])
def test_modes_and_frozen_weights_stay(training):
    model = translator(block="vaswani2017").train(training)
    for name, weight in model.named_parameters():
        weight.requires_grad_("read_own" not in name)
    put(model, draw(model, 0))
    compact(model)
    assert all(module.training == training for module in model.modules())
    assert all(weight.requires_grad == ("read_own" not in name) for name, weight in model.named_parameters())
    assert all(weight.is_leaf for weight in model.parameters())


def test_all_gates_are_off_afterwards():
    model = translator()
    put(model, draw(model, 1))
    compact(model)
    assert all(site.part.unit_gate.z is None and site.residual.gate.z is None for site in sites(model))


def test_nothing_holds_on_to_the_weights_that_are_gone():
    model = translator()
    old = [weakref.ref(site.part.last.weight) for site in sites(model)]
    put(model, closed(model, read_own=[1], read_context=None, think=[0, 5]))
    origins = compact(model)
    gc.collect()
    assert origins
    assert [ref() for ref in old] == [None] * len(old)


def test_copies_and_files_of_it_answer_alike(tmp_path):
    model = translator(block="vaswani2017")
    _, small = gated(model, draw(model, 2))
    torch.save(small.state_dict(), tmp_path / "weights")
    again = build("translation", "encoder_decoder", attention("dense"), "alibi", "vaswani2017").double().eval()
    narrow(again, Architecture.of(small))
    again.load_state_dict(torch.load(tmp_path / "weights", weights_only=True))
    for other in (deepcopy(small), again):
        assert differ("translation", small, other) == 0


@pytest.mark.parametrize("turn", range(3))
def test_in_single_precision_it_is_rounding(turn):
    model = translator("rope", ("modern", "vaswani2017")[turn % 2], "2").float()
    model, small = gated(model, draw(model, turn))
    lessons = [loss("translation", one) for one in (model, small)]
    torch.testing.assert_close(*lessons, rtol=1e-4, atol=1e-4)


def test_coarse_gates_are_folded_as_exactly_as_the_weights_are():
    model = translator()
    gates = draw(model, 1)
    coarse = Gates(*({name: z.float() for name, z in part.items()} for part in (gates.units, gates.layers)))
    model, small = gated(model, coarse)
    assert differ("translation", model, small) < SLACK


# --- heads ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("z", [[1, 1, 0, 1], [0.5, 0, 0, 0, 1, 1, 0, 0]])
def test_uneven_groups_are_refused_before_anything_is_cut(z):
    model = translator(kv_heads="2", heads=len(z), head_dim=4)
    gates = closed(model, think=[0, 1, 2])
    last = next(site for site in reversed(sites(model)) if site.kind == "heads")
    gates.units[last.name] = torch.tensor(z, dtype=torch.float64)
    put(model, gates)
    before, want = deepcopy(model.state_dict()), answers("translation", model)["taught"]
    with pytest.raises(ValueError, match="different numbers of query heads"):
        compact(model)
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(before[name], x) for name, x in model.state_dict().items())
    assert torch.equal(answers("translation", model)["taught"], want), "gates are still there"


def test_uneven_heads_of_a_sublayer_that_goes_as_a_whole_are_nobodys_business():
    model = translator(kv_heads="2")
    gates = closed(model, read_own=None)
    gates.units[sites(model)[0].name][1] = 0.0
    model, small = gated(model, gates)
    assert differ("translation", model, small) < SLACK


@pytest.mark.parametrize(("position", "kv_heads"), [("alibi", "4"), ("alibi", "2"), ("rope", "1")])
def test_pruned_again_it_counts_in_the_heads_of_the_beginning(position, kv_heads):
    model = translator(position, "vaswani2017", kv_heads)
    first = draw(model, 0)
    hand = deepcopy(model)
    weigh_by_hand(hand, first)
    _, once = gated(model, first)
    second = draw(once, 4)
    mapped = Gates({site.name: torch.ones(site.part.units) for site in sites(hand)}, second.layers)
    for site in sites(once):
        mapped.units[site.name] = torch.zeros(site.part.of, dtype=torch.float64)
        mapped.units[site.name][list(site.part.kept)] = second.units[site.name].double()
    weigh_by_hand(hand, mapped)
    _, twice = gated(once, second)
    assert differ("translation", hand, twice) < SLACK
    again = translator(position, "vaswani2017", kv_heads)
    narrow(again, Architecture.of(twice))
    again.load_state_dict(twice.state_dict())
    assert differ("translation", twice, again) == 0


def test_closed_units_are_those_of_gate_zero():
    model = translator()
    put(model, closed(model, think=[2, 7]))
    assert [closed_units(site) for site in sites(model) if site.kind == "neurons"] == [[2, 7]] * 4
    assert closed_units(sites(translator())[0]) == []


@pytest.mark.parametrize("shape", ["encoder_decoder", "decoder_only"])
def test_layers_of_different_attentions(shape):
    model = translator("rope", shape=shape, attention=mixed("bigbird", "linear"))
    for turn in range(3):
        one, small = gated(deepcopy(model), draw(model, turn))
        assert differ("translation", one, small) < SLACK


@pytest.mark.parametrize("rule", ["softmax", "linear", "performer"])
def test_auto_goes_on_with_the_rule_that_was_taken(rule, tmp_path):
    own = attention("auto", "attention.allow_approximate=true", f"attention.cache={tmp_path}")
    model = translator("rope", shape="decoder_only", attention=own)
    for site in sites(model):
        if site.kind == "heads":
            site.part.attention._rule = rule
    model, small = gated(model, draw(model, 0))
    assert differ("translation", model, small) < SLACK
    again = build("translation", "decoder_only", own, "rope", "modern").double().eval()
    narrow(again, Architecture.of(small))
    again.load_state_dict(small.state_dict())
    assert differ("translation", small, again) == 0


class Tempered(Softmax):
    """Each query head has a temperature, each key-value head an offset, and each number of a head a weight."""

    def __init__(self, heads, head_dim, layer, kv_heads):
        super().__init__(heads, head_dim, layer, kv_heads, "reference", 0.0, False, None)
        self.temperature = nn.Parameter(torch.rand(heads, 1, 1))
        self.offset = nn.Parameter(torch.rand(head_dim, self.kv_heads))
        self.weight = nn.Parameter(torch.rand(head_dim))
        self.register_buffer("sign", torch.ones(heads, 1, 1))

    def attend(self, q, k, v, mask, bias=None):
        k = k + self.offset.t().unsqueeze(1)
        return super().attend(q * self.temperature * self.sign * self.weight, k, v, mask, bias)

    def keep(self, heads, kv_heads):
        super().keep(heads, kv_heads)
        self.temperature = nn.Parameter(self.temperature[list(heads)])
        self.offset = nn.Parameter(self.offset[:, list(kv_heads)])
        self.sign = self.sign[list(heads)]


def test_an_attention_with_weights_of_its_own_keeps_those_of_its_heads():
    def made(heads, head_dim, layer):
        return Tempered(heads, head_dim, layer, 2)

    model = translator("rope", attention=made)
    for site in sites(model):
        if site.kind == "heads":
            site.part.attention.sign.uniform_()
    model, small = gated(model, draw(model, 0))
    again = deepcopy(model)
    origins = compact(again)
    assert differ("translation", model, small) < SLACK
    before, after = dict(model.named_parameters()), dict(small.named_parameters())
    own = [name for name in after if ".attention." in name]
    assert len(own) >= 9
    for name in own:
        assert torch.equal(origins[name].of(before[origins[name].old]), after[name])
    fresh = translator("rope", attention=made)
    narrow(fresh, Architecture.of(small))
    fresh.load_state_dict(small.state_dict())
    assert differ("translation", small, fresh) == 0


# --- ends -----------------------------------------------------------------------------------------------------------

NOTHING = {"read_own": None, "read_context": None, "think": None}
ENDS = {
    "no attention to oneself": {"read_own": None},
    "no attention to the source": {"read_context": None},
    "no thought": {"think": None},
    "no heads": {"read_own": [0, 1, 2, 3], "read_context": [0, 1, 2, 3]},
    "no neurons": {"think": list(range(12))},
    "nothing": NOTHING,
    "no units": {"read_own": [0, 1, 2, 3], "read_context": [0, 1, 2, 3], "think": list(range(12))},
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize(("shape", "block"), [("encoder_decoder", "modern"), ("decoder_only", "vaswani2017")])
def test_whole_kinds_of_sublayers_may_go(shape, block, end):
    """Searches with caches included: no layer counts tokens for the others."""
    model = translator("learned", block, shape=shape)
    model, small = gated(model, closed(model, **end))
    assert differ("translation", model, small) < SLACK


@pytest.mark.parametrize("at", [0, 1])
@pytest.mark.parametrize("name", ["dense", "linear"])
def test_one_layer_without_attention_does_not_disturb_the_caches_of_the_others(name, at):
    model = translator("rope", shape="decoder_only", attention=attention(name))
    gates = closed(model)
    gates.layers[sites(model)[2 * at].name] = torch.tensor(0.0)
    model, small = gated(model, gates)
    assert small.decoder.blocks[at].read_own.inner is None
    assert differ("translation", model, small) < SLACK


def test_a_bias_without_units_is_weighed_by_the_gate_of_its_sublayer():
    model = translator(block="vaswani2017")
    gates = closed(model, read_own=[0, 1, 2, 3])
    first = sites(model)[0]
    gates.layers[first.name] = torch.tensor(0.25, dtype=torch.float64)
    bias = first.part.out.bias.detach().clone()
    put(model, gates)
    origins = compact(model)
    left = model.get_submodule(first.name).inner
    assert isinstance(left, Constant)
    torch.testing.assert_close(left.bias.detach(), bias / 4)
    origin = origins[f"{first.name}.inner.bias"]
    assert (origin.old, origin.cut, float(origin.scale)) == (f"{first.name}.inner.out.bias", None, 0.25)


@pytest.mark.parametrize("end", [NOTHING, ENDS["no units"]], ids=["nothing", "no units"])
def test_what_is_left_of_nothing_can_be_made_anew(end):
    """As the baseline of the same size, from weights that are drawn."""
    model = translator(block="vaswani2017")
    _, small = gated(model, closed(model, **end))
    start_weights(small)
    assert torch.isfinite(loss("translation", small))


# --- what looks at models -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "shape"),
    [PAIRS, ("language_model", "decoder_only"), ("clinical_long", "encoder_only"), ("timeseries", "decoder_only")],
)
@pytest.mark.parametrize("name", ["gqa", "bigbird"])
def test_the_checks_before_training_pass(kind, shape, name):
    """No leak from the future, padding or other rows, a gradient everywhere, kernels that agree."""
    model = grown(build(kind, shape, attention(name), "alibi", "modern")).float()
    gates = draw(model, 2)
    gates.layers.clear()
    for site in sites(model):
        if not gates.units[site.name].any():
            gates.units[site.name].fill_(1.0)
    put(model, gates)
    compact(model)
    found = preflight.examine(model, 32, torch.device("cpu"))
    assert all(finding.ok for finding in found), found


def test_layers_that_differ_in_which_heads_are_left_are_checked_once():
    model = translator("rope", shape="decoder_only", attention=attention("bigbird"))
    gates = closed(model)
    for at, site in enumerate(sites(model)):
        if site.kind == "heads":
            gates.units[site.name][at // 2] = 0.0
    put(model, gates)
    compact(model)
    assert len(seats(model)) == 1


def test_arithmetic_shrinks_with_the_heads():
    """Half of the heads, and half of what attention itself computes."""
    model = translator("rope", shape="decoder_only", dropout=0.0)

    def counted(one: nn.Module) -> float:
        with Counter(one).counting() as counter:
            loss("translation", one).backward()
        return counter._ruled

    _, small = gated(deepcopy(model), closed(model, read_own=[1, 2]))
    assert counted(small) == counted(model) / 2 > 0


def test_blocks_that_are_computed_again_have_the_same_gradients():
    model = translator(block="vaswani2017")
    _, small = gated(model, draw(model, 3))
    other = deepcopy(small)
    recompute(blocks(other))
    for one in (small.train(), other.train()):
        torch.manual_seed(3)
        loss("translation", one).backward()
    for one, again in zip(small.parameters(), other.parameters(), strict=True):
        assert (one.grad is None) == (again.grad is None)
        assert one.grad is None or torch.equal(one.grad, again.grad)


@pytest.mark.parametrize("kernel", ["sdpa", "flash"])
def test_it_trains_after_it_was_evaluated_without_gradients(kernel, monkeypatch):
    """A validation under inference mode leaves nothing that a training could not save."""
    if kernel == "flash" and not flash._interpreting():
        pytest.skip("needs Triton's interpreter")
    monkeypatch.setattr(flash, "FEW", 0)
    own = attention("dense", f"attention.kernel={kernel}")
    model = grown(build("language_model", "decoder_only", own, "alibi", "modern", layers=1, head_dim=16)).float()
    put(model, closed(model, read_own=[0, 3]))
    compact(model)
    tokens = torch.randint(5, 23, (2, 17))
    for _ in range(2):
        with torch.inference_mode():
            model(tokens)
        model(tokens).square().mean().backward()
    assert sites(model)[0].part.attention.used == kernel


@pytest.mark.parametrize(
    ("name", "position"), [("gqa", "alibi"), pytest.param("bigbird", "rope", marks=pytest.mark.slow)]
)
def test_the_triton_kernels_see_the_same_heads(name, position, monkeypatch):
    if not flash._interpreting():
        pytest.skip("needs Triton's interpreter")
    monkeypatch.setattr(flash, "FEW", 0)
    more = ("attention.pattern.block=16",) if name == "bigbird" else ()
    own = attention(name, "attention.kernel=flash", *more)
    model = grown(build("language_model", "decoder_only", own, position, "modern", head_dim=16)).float()
    model, small = gated(model, draw(model, 0))
    tokens = torch.randint(5, 23, (1, 40))
    torch.testing.assert_close(model(tokens), small(tokens), rtol=0, atol=2e-5)
    assert {s.part.attention.used for s in sites(small) if s.kind == "heads"} == {"flash"}


def held(mask: Mask) -> int:
    """Bytes that a mask remembers for the layers that share it."""
    found = (x for x in mask._derived.values() if isinstance(x, torch.Tensor))
    return sum({x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in found}.values())


@pytest.mark.parametrize("kernel", ["sdpa", "reference", "blocked"])
def test_layers_of_other_heads_remember_no_masks_and_biases_of_their_own(kernel):
    """Or a compact model would need more memory than the whole one."""
    own = attention("dense", f"attention.kernel={kernel}")
    model = translator("alibi", "modern", shape="encoder_only", attention=own, layers=4, kind="clinical_long").body
    gates = closed(model)
    for at, site in enumerate(s for s in sites(model) if s.kind == "heads"):
        gates.units[site.name][:at] = 0.0
    small = deepcopy(model)
    put(small, gates)
    compact(small)
    masks = [Mask(64, 64, lengths=torch.tensor([64, 9])) for _ in range(2)]
    x = torch.randn(2, 64, 16, dtype=torch.float64)
    with torch.no_grad():
        for one, mask in zip((model, small), masks, strict=True):
            one.encoder(x, mask)
    assert held(masks[1]) <= held(masks[0])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "position"), [("dense", "alibi"), ("gqa", "rope"), ("flash", "learned")])
def test_compiled_it_is_one_graph(name, position):
    model = grown(build("language_model", "decoder_only", attention(name), position, "vaswani2017"))
    _, small = gated(model, draw(model, 0))
    tokens = torch.randint(5, 23, (2, 12))
    wanted = small(tokens)
    found = torch.compile(small, backend="aot_eager", fullgraph=True)(tokens)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-9)
