"""Costs against counts by hand, and against what a model really lost when it was compacted."""

import os
from copy import deepcopy
from dataclasses import asdict
from functools import partial

import pytest
import torch
import torch.distributed as dist
from families import attention
from gated import draw
from tiny import BLOCKS, encoder_decoder, encoder_only, pairs
from torch import nn

from manyheads.attention.base import Attention
from manyheads.errors import UserError
from manyheads.model.layers import MultiHead
from manyheads.pruning.compact import compact
from manyheads.pruning.cost import Costs, model_flops, unit_costs
from manyheads.pruning.cost_latency import ROUNDS, latency_lines
from manyheads.pruning.cost_line import half, through
from manyheads.pruning.gates import put
from manyheads.pruning.sites import refuse_uncut, residuals, sites
from manyheads.training.flops import outermost

DIM, HEADS, D, HIDDEN = 16, 4, 4, 24
EVERY = [(block, kv, heads) for block in BLOCKS for kv in (1, 2, 4) for heads in ("groups", "within")]


def count(model):
    return sum(weight.numel() for weight in model.parameters())


def lesson(model, batches=1):
    """Forward passes of a training, as a task makes them."""
    given = pairs()

    def run():
        for _ in range(batches):
            model.head(model.teach(*given)[0])

    return run


def costs_of(model, base, heads="groups", run=None):
    return unit_costs(model, run or lesson(model), base, heads)


def closed(model, turn, heads):
    """The model with other units, sublayers and whole parts closed in each turn; and what is left."""
    gates = draw(model, turn, within=heads == "within")
    put(model, gates)
    return gates.kept()


# --- weights --------------------------------------------------------------------------------------------------------


def unit_by_hand(site, unit, heads):
    """Weights that only this unit reads or writes, and its share of its key-value head, looked at one by one."""
    part, found, size = site.part, 0.0, 1
    if isinstance(part, MultiHead):
        size, group = D, unit // site.per_group
    for name in part.makes:
        linear = part.get_submodule(name)
        for row in range(linear.out_features):
            of = row // size
            if name == "kv":
                if site.per_group > 1 and heads == "within":
                    continue
                share = (of % (linear.out_features // size // 2) == group) / site.per_group
            else:
                share = of == unit
            found += share * (linear.in_features + (linear.bias is not None))
    return found + sum(part.last.out_features for column in range(part.last.in_features) if column // size == unit)


@pytest.mark.parametrize(("block", "kv_heads", "heads"), EVERY)
def test_weights_of_units_and_of_what_goes_beyond_them(block, kv_heads, heads):
    model = encoder_decoder("rope", block, kv_heads)
    costs = unit_costs(model, None, "parameters", heads)
    for site in sites(model):
        units = [unit_by_hand(site, unit, heads) for unit in range(site.part.units)]
        assert set(units) == {costs.unit[site.name]}
        gone = count(site.part) + (count(site.residual.norm) if site.residual.pre_norm else 0)
        assert costs.whole[site.name] == gone - sum(units)
    assert costs.total == sum(costs.whole[n] + costs.units[n] * costs.unit[n] for n in costs.unit)


@pytest.mark.parametrize(("block", "kv_heads", "heads"), EVERY)
def test_a_compact_model_has_lost_as_many_weights_as_was_said(block, kv_heads, heads):
    for turn in range(4):
        model = encoder_decoder("rope", block, kv_heads)
        costs, before = unit_costs(model, None, "parameters", heads), count(model)
        kept = closed(model, turn, heads)
        compact(model)
        assert before - count(model) == costs.total - costs.of(kept)
        assert costs.share(kept) == 1 - costs.of(kept) / costs.total


class Scaled(Attention):
    """Has a number for each head and one for all of them, and arithmetic that nobody has counted."""

    exact = True

    def __init__(self, heads, head_dim, layer):
        super().__init__(heads, head_dim, layer, 2)
        self.sizes, self.size = nn.Parameter(torch.ones(heads)), nn.Parameter(torch.ones(()))

    def attend(self, q, k, v, mask, bias=None):
        k, v = (x.repeat_interleave(q.size(1) // x.size(1), 1) for x in (k, v))
        return (q @ k.transpose(-1, -2)).softmax(-1) @ v * self.sizes.view(-1, 1, 1) * self.size

    def why_not(self, q, k, mask, bias=None):
        return None

    def keep(self, heads, kv_heads):
        super().keep(heads, kv_heads)
        self.sizes = nn.Parameter(self.sizes[list(heads)])


@pytest.mark.parametrize("heads", ["groups", "within"])
def test_what_an_attention_owns_counts_too(heads):
    for turn in range(4):
        model = encoder_decoder(attention=Scaled)
        costs, before = unit_costs(model, None, "parameters", heads), count(model)
        kept = closed(model, turn, heads)
        compact(model)
        assert before - count(model) == costs.total - costs.of(kept)


# --- operations -----------------------------------------------------------------------------------------------------


def flops_by_hand(name, heads):
    """(of a unit, beyond them) for the batch of `pairs`, two of whose four heads share a key-value head."""
    _, sources, target, _ = pairs()
    n, m = 7, target.size(1) - 1
    rows, queries = len(sources), n if name.startswith("encoder") else m
    if name.endswith("think"):
        products = sum(2 * DIM for _ in range(rows) for _ in range(queries))
        return products, 0
    keys = n if name.endswith("context") else queries
    q = out = sum(2 * DIM * D for _ in range(rows) for _ in range(queries))
    kv = 2 * sum(2 * DIM * D for _ in range(rows) for _ in range(keys))
    seen = 0
    for length in sources.tolist():
        for i in range(length if name.startswith("encoder") else m):
            seen += i + 1 if name.startswith("decoder") and name.endswith("own") else length
    own = q + out + 4 * D * seen
    return (own, 2 * kv) if heads == "within" else (own + kv / 2, 0)


@pytest.mark.parametrize("heads", ["groups", "within"])
@pytest.mark.parametrize(("block", "matrices"), [("modern", 3), ("vaswani2017", 2)])
def test_operations_of_every_sublayer(block, matrices, heads):
    model = encoder_decoder("rope", block, 2)
    costs = costs_of(model, "flops", heads)
    for name in costs.unit:
        unit, whole = flops_by_hand(name, heads)
        assert costs.unit[name] == unit * (matrices if name.endswith("think") else 1)
        assert costs.whole[name] == whole
    twice = costs_of(model, "flops", heads, lesson(model, 2))
    assert twice.total == 2 * costs.total


KINDS = ["dense", "sliding_window", "sigmoid", "linear", "performer"]


@pytest.mark.parametrize("heads", ["groups", "within"])
@pytest.mark.parametrize("name", KINDS)
def test_a_compact_model_computes_as_much_less_as_was_said(name, heads):
    made, block = attention(name, "attention.kv_heads=2"), ("modern", "vaswani2017")[KINDS.index(name) % 2]
    for turn in range(3):
        model = encoder_decoder("none", block, attention=made).eval()
        run = lesson(model)
        costs, before = costs_of(model, "flops", heads), model_flops(model, run)
        kept = closed(model, turn, heads)
        compact(model)
        assert before - model_flops(model, run) == pytest.approx(costs.total - costs.of(kept), rel=1e-12)
        assert before > costs.total


def test_heads_share_a_work_that_nobody_has_counted():
    model = encoder_only(attention=Scaled)
    tokens = torch.full((3, 5), 7)
    costs = unit_costs(model, lambda: model(tokens, None), "flops", "groups")
    q = kv = out = 2 * 15 * DIM * D
    assert costs.unit["encoder.blocks.1.read_own"] == q + kv + out + 4 * D * 3 * 5 * 5


# --- seconds --------------------------------------------------------------------------------------------------------


class Watch:
    """A clock by which a head takes 2 s and a neuron 0.5 s, beyond 3 s; now and then something takes much longer."""

    def __init__(self, within=False):
        self.runs, self.within, self.parts = 0, within, set()

    def __call__(self, work, device):
        assert work().isfinite().all()
        self.runs += 1
        part = getattr(work.func, "inner", work.func)
        self.parts.add((type(part).__name__, part.units))
        return (3 + part.units * {"heads": 2, "neurons": 0.5}[part.kind]) * (100 if self.runs % 5 == 0 else 1)


def found_by(watch, model, heads="groups", batches=1):
    return latency_lines(model, lesson(model, batches), heads, True, watch)


@pytest.mark.parametrize(("block", "heads"), [("modern", "groups"), ("vaswani2017", "within")])
def test_a_line_through_all_units_and_half_of_them(block, heads):
    model, watch = encoder_decoder("alibi", block, 2), Watch()
    lines = found_by(watch, model, heads)
    assert lines.keys() == {site.name for site in sites(model)}
    assert {(line.unit, line.whole) for line in lines.values()} == {(2.0, 3.0), (0.5, 3.0)}
    assert {units for name, units in watch.parts if name.endswith("Attention")} == {4, 2}
    assert {units for name, units in watch.parts if not name.endswith("Attention")} == {24, 12}


def test_what_is_alike_is_measured_once():
    model, watch = encoder_decoder("rope", "modern", 2), Watch()
    once = found_by(watch, model)
    # Reading itself and thinking of both stacks, which differ in length, and reading a context; two layers of each.
    assert watch.runs == 5 * 2 * ROUNDS
    twice, again = Watch(), encoder_decoder("rope", "modern", 2)
    lines = found_by(twice, again, batches=2)
    assert twice.runs == watch.runs
    assert lines == {name: line * 2 for name, line in once.items()}


def test_other_sizes_and_other_masks_are_measured_apart():
    model, watch = encoder_only("rope", "modern", 2), Watch()
    ends = torch.tensor([3, 2])

    def run():
        for n, lengths in ((5, None), (5, ends), (3, ends), (3, ends - 1)):
            model(torch.full((2, n), 7), lengths)

    latency_lines(model, run, "groups", True, watch)
    assert watch.runs == (3 + 2) * 2 * ROUNDS  # feed-forward parts know no lengths


def test_units_that_only_go_together_share_all_the_time():
    model = encoder_only("rope", "modern", 1)
    tokens = torch.full((2, 3), 7)
    lines = latency_lines(model, lambda: model(tokens, None), "groups", True, Watch())
    assert (lines["encoder.blocks.0.read_own"].unit, lines["encoder.blocks.0.read_own"].whole) == ((3 + 4 * 2) / 4, 0)
    lines = latency_lines(model, lambda: model(tokens, None), "within", True, Watch())
    assert (lines["encoder.blocks.0.read_own"].unit, lines["encoder.blocks.0.read_own"].whole) == (2, 3)


def test_no_line_runs_below_nothing_and_each_ends_where_it_was_measured():
    for less in (-1.0, 0.0, 2.0, 5.0, 9.0, 12.0):
        line = through(8, 10.0, 4, less)
        assert line.unit >= 0
        assert line.whole >= 0
        assert line.whole + 8 * line.unit == 10.0
    assert (line.unit, line.whole) == (0, 10)


def test_half_of_groups_or_of_each_group():
    site = sites(encoder_only("rope", "modern", 2))[0]
    assert half(site, "groups") == half(site, "none") == [0, 1]
    assert half(site, "within") == [0, 2]
    assert half(sites(encoder_only("rope", "modern", 1))[0], "groups") == []


@pytest.mark.parametrize(("base", "block"), [("latency", "vaswani2017"), ("flops", "modern")])
def test_a_model_is_left_as_it_was(base, block):
    model = encoder_decoder("rope", block, 2, dropout=0.5).train()
    model.encoder.blocks[0].eval()
    kept = closed(model, 0, "groups")  # gates weigh nothing here: all that is there is measured
    weights, modes = deepcopy(model.state_dict()), [module.training for module in model.modules()]
    gates, seen, run = [site.part.unit_gate.z for site in sites(model)], [], lesson(model)
    dice = torch.get_rng_state()
    costs = costs_of(model, base, run=lambda: (seen.append((model.training, torch.is_grad_enabled())), run()))
    assert seen == [(False, False)]
    assert modes == [module.training for module in model.modules()]
    assert all(one is site.part.unit_gate.z for one, site in zip(gates, sites(model), strict=True))
    assert all(torch.equal(weights[name], weight) for name, weight in model.state_dict().items())
    assert torch.equal(dice, torch.get_rng_state())
    assert not any("attend" in vars(found) for found in outermost(model))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert costs.total > 0
    assert min(*costs.unit.values(), *costs.whole.values(), *costs.bare.values()) >= 0
    assert 0 < costs.share(kept) < 1


def test_products_are_timed_in_the_type_that_they_run_in():
    model, seen = encoder_only("rope", "modern", 2), set()
    tokens = torch.full((2, 3), 7)

    def run():
        with torch.autocast("cpu", torch.bfloat16):
            model(tokens, None)

    def watch(work, device):
        seen.add((torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")))
        return 1.0

    latency_lines(model, run, "groups", True, watch)
    assert seen == {(True, torch.bfloat16)}


# --- all of them ----------------------------------------------------------------------------------------------------


def test_sites_that_are_not_named_are_as_they_are():
    costs = Costs("flops", {"a": 2.0, "b": 5.0}, {"a": 1.0, "b": 4.0}, {"a": 3, "b": 2}, {"b": 0.5})
    assert costs.total == 7 + 14
    assert costs.of({"a": 1}) == 3 + 14
    assert costs.of({"a": 0, "b": 0}) == 1 + 0.5
    assert costs.share({"a": None, "b": None}) == 1
    assert Costs(**asdict(costs)) == costs
    assert Costs("latency", {}, {}, {}).share({}) == 0


def test_what_was_pruned_away_costs_nothing_more():
    model = encoder_decoder("rope", "modern", 2)
    put(model, draw(model, 1))
    compact(model)
    left = {name for name, residual in residuals(model).items() if residual.inner is not None}
    assert len(left) < len(residuals(model))
    for base in ("parameters", "flops"):
        costs = costs_of(model, base)
        assert costs.unit.keys() == left
        assert min(costs.unit.values()) > 0


def _in_process(rank, folder, ranks, base):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/{base}", rank=rank, world_size=ranks)
    torch.manual_seed(0)
    model = encoder_only("rope", "modern", 2)
    tokens = torch.full((2 + rank, 3), 7)  # another batch in each process
    costs = unit_costs(model, lambda: model(tokens, None), base, "groups")
    torch.save(asdict(costs), os.path.join(folder, f"{base}_{rank}.pt"))
    dist.destroy_process_group()


@pytest.mark.parametrize("base", ["flops", "latency"])
def test_one_process_of_a_group_gives_its_own_costs(base, tmp_path):
    _in_process(0, tmp_path, 1, base)
    costs = Costs(**torch.load(tmp_path / f"{base}_0.pt"))
    assert costs.total > 0


@pytest.mark.slow
@pytest.mark.parametrize("base", ["flops", "latency"])
def test_several_processes_go_by_the_first_one(base, tmp_path):
    start = partial(torch.multiprocessing.start_processes, nprocs=2, start_method="spawn")
    start(_in_process, args=(str(tmp_path), 2, base))
    first, second = (torch.load(tmp_path / f"{base}_{rank}.pt") for rank in range(2))
    assert first == second


class Uncut(Scaled):
    keep = Attention.keep


def test_an_attention_that_cannot_cut_what_it_owns_is_refused_before_it_is_pruned():
    refuse_uncut(sites(encoder_decoder(attention=Scaled)))
    with pytest.raises(UserError, match=r"Uncut\.sizes may hold .* no keep\(heads, kv_heads\)"):
        refuse_uncut(sites(encoder_decoder(attention=Uncut)))
