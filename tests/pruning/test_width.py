"""A narrower residual stream: the same results where nothing was ever written to what goes."""

from copy import deepcopy
from functools import partial

import pytest
import torch
from families import ATTENTIONS, CELLS, answers, attention, build, grown, instantiated, loss
from gated import apart, draw
from torch import nn

from manyheads.errors import UserError
from manyheads.model.shapes import Shape
from manyheads.position.none import NoPosition
from manyheads.pruning.architecture import Architecture, narrow, parse
from manyheads.pruning.compact import compact
from manyheads.pruning.gates import Gates, put
from manyheads.pruning.sites import sites
from manyheads.pruning.width import narrow_width, quietest

DIM, DEAD = 10, (0, 3, 4, 9)
LEFT = tuple(dim for dim in range(DIM) if dim not in DEAD)
WRITERS = ("table.weight", "out.weight", "out.bias", "down.weight", "down.bias", "values.weight", "values.bias")
WRITERS = (*WRITERS, "known.weigh.weight", "places", "queries")
RMS = partial(nn.RMSNorm, eps=1e-3)  # an eps that has a say
BLOCKS = {
    "modern": partial(instantiated("model/block", "modern"), norm=RMS, bias=True),
    "post": partial(instantiated("model/block", "vaswani2017"), norm=RMS),
}
SIZES = {"dim": DIM, "heads": 4, "head_dim": 4, "hidden": 7}


def model(
    kind="translation", shape="encoder_decoder", block="modern", name="dense", position="rope", dead=DEAD, **more
):
    """No other size is DIM; nothing is written to the dimensions that are dead."""
    made = grown(fresh(kind, shape, block, name, position, **more))
    with torch.no_grad():
        for weight_name, weight in made.named_parameters():
            if weight_name.endswith(WRITERS) and not weight_name.startswith("bag"):
                axis = 0 if weight.dim() == 1 or weight.size(0) == DIM else 1
                weight.index_fill_(axis, torch.tensor(dead, dtype=torch.long), 0.0)
    return made


def fresh(kind, shape, block, name, position, **more):
    """As it begins; what chunks are told of their places is taken away, since waves write to all dimensions."""
    made = build(kind, shape, attention(name), position, BLOCKS[block], **{**SIZES, **more})
    if kind == "clinical_long":
        made.aggregate.place = NoPosition(DIM, 1, DIM)
    return made


def body(made):
    return next(module for module in made.modules() if isinstance(module, Shape))


CASES = [
    (*cell, name, position, block)
    for at, cell in enumerate(CELLS)
    for name, position, block in (("dense", "learned", "modern"), ("gqa", "alibi", "post"), ("linear", "none", "post"))
    if at % 3 == 0 or name == "gqa"
]
ALL = [
    (*cell, name, ("learned", "rope")[(at + row) % 2], ("modern", "post")[(at + row // 2) % 2])
    for at, cell in enumerate(CELLS)
    for row, name in enumerate(ATTENTIONS)
]


def check(kind, shape, name, position, block):
    whole = model(kind, shape, block, name, position)
    narrower = deepcopy(whole)
    origins = narrow_width(narrower, LEFT)
    assert apart(answers(kind, whole), answers(kind, narrower)) < 1e-10
    assert not [n for n, x in narrower.named_parameters() if DIM in x.shape and "content" not in n and "gate" not in n]
    gradients(kind, whole, narrower, origins)
    again = fresh(kind, shape, block, name, position).double().eval()
    narrow(again, parse(Architecture.of(narrower).content(), "here"))
    again.load_state_dict(narrower.state_dict())
    assert torch.equal(loss(kind, again), loss(kind, narrower))
    assert Architecture.of(again) == Architecture.of(narrower)


def gradients(kind, whole, narrower, origins):
    before, after = (dict(one.named_parameters(remove_duplicate=False)) for one in (whole, narrower))
    assert set(origins) == set(after)
    for one in (whole, narrower):
        loss(kind, one).backward()
    for name, origin in origins.items():
        old, new = before[origin.old], after[name]
        torch.testing.assert_close(new.detach(), origin.of(old.detach()))
        if new.grad is not None:
            wanted = origin.of(old.grad, power=-1)
            torch.testing.assert_close(new.grad, wanted, rtol=0, atol=1e-10 * float(1 + wanted.abs().max()))


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_what_nothing_is_written_to_may_go(case):
    check(*case)


@pytest.mark.slow
@pytest.mark.parametrize("case", ALL, ids="-".join)
def test_what_nothing_is_written_to_may_go_everywhere(case):
    check(*case)


def test_other_dimensions_are_missed():
    whole = model()
    narrower = deepcopy(whole)
    narrow_width(narrower, tuple(range(1, DIM)))
    assert apart(answers("translation", whole), answers("translation", narrower)) < 1e-10  # 0 is dead
    narrower = deepcopy(whole)
    narrow_width(narrower, tuple(dim for dim in range(DIM) if dim != 1))
    assert apart(answers("translation", whole), answers("translation", narrower)) > 1e-2


@pytest.mark.parametrize("shape", ["encoder_decoder", "decoder_only"])
def test_it_goes_with_gates_and_composes(shape):
    """Units and width at once, pruned again, and built anew by what is written of it."""
    whole = model(shape=shape)
    gates = draw(whole, 0)
    small = deepcopy(whole)
    put(whole, gates)
    put(small, gates)
    first = (1, 2, 3, 5, 6, 7, 8, 9)
    origins = compact(small, first)
    assert apart(answers("translation", whole), answers("translation", small)) < 1e-10
    gradients("translation", whole, small, origins)
    small.zero_grad(set_to_none=True)
    narrow_width(small, tuple(first.index(dim) for dim in LEFT))
    assert body(small).dims == LEFT
    assert apart(answers("translation", whole), answers("translation", small)) < 1e-10
    again = fresh("translation", shape, "modern", "dense", "rope")
    narrow(again, Architecture.of(small))
    again.double().eval().load_state_dict(small.state_dict())
    assert apart(answers("translation", small), answers("translation", again)) < 1e-14


def test_a_bias_that_is_left_alone_is_narrowed():
    whole = model(block="post")
    gates = Gates({site.name: torch.zeros(site.part.units) for site in sites(whole)})
    small = deepcopy(whole)
    put(whole, gates)
    put(small, gates)
    compact(small, LEFT)
    assert apart(answers("translation", whole), answers("translation", small)) < 1e-10


def test_everything_speaks_of_the_new_width():
    small = model(position="learned")
    narrow_width(small, LEFT)
    shape, block, count = body(small), body(small).decoder.blocks[0], len(LEFT)
    assert (shape.dim, shape.of, shape.dims) == (count, DIM, LEFT)
    assert shape.embed_target.scale == DIM**0.5, "what is read is as loud as before"
    assert shape.head.weight is shape.embed_target.table.weight
    assert (shape.embed_target.table.embedding_dim, shape.embed_target.table.padding_idx) == (count, 0)
    attention_ = block.read_own.inner
    assert (attention_.q.in_features, attention_.q.out_features) == (count, 16)
    assert (attention_.out.in_features, attention_.out.out_features) == (16, count)
    assert block.think.norm.normalized_shape == (count,)
    assert block.think.norm.eps == pytest.approx(1e-3 * DIM / count)
    assert all(weight.is_leaf and weight.requires_grad for weight in small.parameters())


def test_waves_are_those_of_the_dimensions_that_are_left():
    """Of positions that are written to all dimensions; cut twice, and moved."""
    small = model(position="sinusoidal")
    position, zeros = body(small).encoder.position, torch.zeros(1, 5, DIM, dtype=torch.float64)
    waves = deepcopy(position).embed(zeros, 2)
    narrow_width(small, (0, 1, 2, 5, 6, 9))
    narrow_width(small, (1, 3, 5))
    assert torch.equal(position.embed(zeros[..., :3], 2), waves[..., [1, 5, 9]])
    answers("translation", small.float())


def test_a_whole_width_is_written_nowhere():
    assert "width" not in Architecture.of(model()).content()
    small = model()
    narrow_width(small, LEFT)
    found = Architecture.of(small)
    assert found.content()["width"] == {"of": DIM, "kept": list(LEFT)}
    assert not found.whole


# --- which ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "shape"), CELLS)
def test_the_quietest_are_those_that_nothing_is_written_to(kind, shape):
    assert quietest(model(kind, shape, position="learned"), len(DEAD)) == DEAD


@torch.no_grad()
def test_how_loud_a_dimension_is_counts_every_weight_that_writes():
    made = model("language_model", "decoder_only", dead=(), layers=1)
    table, block = made.embed.table.weight, made.decoder.blocks[0]
    loud = []
    for dim in range(DIM):
        rows = [float(table[word, dim] * made.embed.scale) ** 2 for word in range(len(table))]
        total = sum(rows) / len(rows) + float(block.read_own.inner.out.bias[dim]) ** 2
        for linear in (block.read_own.inner.out, block.think.inner.down):
            total += sum(float(x) ** 2 for x in linear.weight[dim])
        loud.append(total)
    order = sorted(range(DIM), key=loud.__getitem__)
    for count in range(DIM):
        assert quietest(made, count) == tuple(sorted(order[:count]))


# --- what is refused ------------------------------------------------------------------------------------------------


def unchanged(made, attempt, error, words):
    before = {name: x.clone() for name, x in made.state_dict().items()}
    with pytest.raises(error, match=words):
        attempt(made)
    after = made.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(x, after[name]) for name, x in before.items())


def test_layer_norm_is_refused():
    made = grown(build("translation", "encoder_decoder", attention("dense"), "rope", "vaswani2017"))
    words = "encoder.blocks.0.read_own.norm is a LayerNorm.*take model/block=modern"
    unchanged(made, lambda m: narrow_width(m, (0, 1)), UserError, words)
    put(made, draw(made, 0))
    unchanged(made, lambda m: compact(m, (0, 1)), UserError, words)


def test_a_weight_that_nobody_knows_is_refused():
    made = model()
    made.own = nn.Parameter(torch.randn(DIM))
    unchanged(made, lambda m: narrow_width(m, LEFT), UserError, "nobody knows how own meets the residual stream")


def test_what_an_attention_owns_is_its_own():
    made = model()
    made.encoder.blocks[0].read_own.inner.attention.norm = nn.RMSNorm(DIM)
    made.encoder.blocks[0].read_own.inner.attention.table = nn.Parameter(torch.randn(DIM))
    narrow_width(made, LEFT)
    assert made.encoder.blocks[0].read_own.inner.attention.norm.weight.numel() == DIM


@pytest.mark.parametrize("kept", [(), (1, 0), (0, 0), (-1, 2), (2, DIM)])
def test_what_are_no_dimensions_is_refused(kept):
    unchanged(model(), lambda m: narrow_width(m, kept), ValueError, f"no ascending dimensions below {DIM}")


@pytest.mark.parametrize(
    "width", [[], 3, {"of": 10}, {"of": 10, "kept": None}, {"of": 10, "kept": []}, {"of": 10, "kept": [10]}]
)
def test_files_with_a_wrong_width_are_refused(width):
    content = Architecture.of(model()).content() | {"width": width}
    with pytest.raises(UserError, match=r"arch\.json: width"):
        parse(content, "arch.json")


def test_a_width_of_another_model_is_refused():
    content = Architecture.of(model()).content() | {"width": {"of": 12, "kept": [0]}}
    with pytest.raises(UserError, match="it is 12 dimensions wide there and 10 here"):
        narrow(model(), parse(content, "arch.json"), "arch.json")
