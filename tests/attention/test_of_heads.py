"""Heads that are left see what they saw among all: by definition, in lists of tiles, and with every kernel."""

import pytest
import torch
from every import build
from oracle import Pattern as Ruled
from oracle import by_head, half_blind
from torch.nn.attention.flex_attention import flex_attention

from manyheads.attention import load
from manyheads.attention.kernels import flash, flex, reference, registry
from manyheads.attention.mask import Mask
from manyheads.attention.patterns.bigbird import BigBird
from manyheads.attention.patterns.of_heads import OfHeads, of_heads
from manyheads.attention.patterns.window import Window
from manyheads.attention.tiles import tiles

CPU, HEADS, KEPT = torch.device("cpu"), 6, (0, 2, 3, 5)
BIGBIRD = BigBird(block=4, window=0, globals=1, random=2, seed=5)
PATTERNS = {"bigbird": BIGBIRD, "own": Ruled(by_head), "blind": Ruled(half_blind)}
MASKS = {
    "full": {},
    "causal": {"causal": True},
    "padded": {"lengths": torch.tensor([29, 3])},
    "packed": {"documents": torch.tensor([[0] * 9 + [1] * 20, [0] * 25 + [1] * 4]), "causal": True},
}
patterns = pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
masks = pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)


def both(pattern, mask, n=29) -> tuple[Mask, Mask]:
    """The mask with the pattern of all heads, and with that of those that are left."""
    return Mask(n, n, **mask, pattern=pattern), Mask(n, n, **mask, pattern=of_heads(pattern, KEPT))


@masks
@patterns
def test_each_head_sees_what_it_saw(pattern, mask):
    before, after = both(pattern, mask)
    assert torch.equal(after.dense(len(KEPT), CPU), before.dense(HEADS, CPU)[:, list(KEPT)])
    assert not torch.equal(after.dense(len(KEPT), CPU), before.dense(len(KEPT), CPU)), "heads differ"


@masks
@patterns
def test_lists_of_tiles_are_those_of_the_heads(pattern, mask):
    before, after = (tiles(m, h, 8, 4, CPU) for m, h in zip(both(pattern, mask), (HEADS, len(KEPT)), strict=True))
    wanted = before.bounds[:, list(KEPT)]
    assert torch.equal(after.bounds.diff(dim=-1), wanted.diff(dim=-1))
    for one, other in zip(after.bounds.flatten(0, 2).tolist(), wanted.flatten(0, 2).tolist(), strict=True):
        assert torch.equal(after.index[one[0] : one[2]], before.index[other[0] : other[2]])


def test_what_is_left_of_what_is_left_counts_from_the_beginning():
    twice = of_heads(of_heads(BIGBIRD, KEPT), (1, 3))
    assert twice == OfHeads(BIGBIRD, (2, 5))
    assert hash(twice) == hash(OfHeads(BIGBIRD, (2, 5)))


@pytest.mark.parametrize("pattern", [None, Window(2, 1, 0), BigBird(4, 1, 1, 0, 0)])
def test_where_heads_do_not_differ_nothing_is_in_between(pattern):
    assert of_heads(pattern, KEPT) is pattern


def test_its_tiles_are_those_of_the_pattern():
    assert of_heads(BigBird(32, 1, 1, 3, 0), KEPT).tile == 32


# --- kernels --------------------------------------------------------------------------------------------------------


def inputs(heads, kv_heads, n=29, dtype=torch.float64):
    dice = torch.Generator().manual_seed(1)
    return [torch.randn(2, h, n, 8, generator=dice).to(dtype) for h in (heads, kv_heads, kv_heads)]


def expected(pattern, mask, q, k, v):
    """All heads by the definition, of which the kept ones are taken."""
    whole = torch.zeros(2, HEADS, *q.shape[2:], dtype=torch.float64)
    whole[:, list(KEPT)] = q.double()
    k, v = (x.double().repeat_interleave(len(KEPT) // x.size(1), 1) for x in (k, v))
    spread = [torch.zeros_like(whole) for _ in range(2)]
    for x, y in zip(spread, (k, v), strict=True):
        x[:, list(KEPT)] = y
    mask = Mask(q.size(2), q.size(2), **mask, pattern=pattern)
    return reference.attend(whole, *spread, mask, None, 0.0, None)[:, list(KEPT)]


@masks
@patterns
@pytest.mark.parametrize("kernel", ["reference", "sdpa", "blocked"])
def test_every_kernel_reads_as_the_heads_did(kernel, pattern, mask):
    q, k, v = inputs(len(KEPT), 2)
    found = registry.find(kernel).attend(q, k, v, both(pattern, mask)[1], None, 0.0, None)
    torch.testing.assert_close(found, expected(pattern, mask, q, k, v), rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("mask", [MASKS["causal"], pytest.param(MASKS["padded"], marks=pytest.mark.slow)])
def test_flex_reads_as_the_heads_did(mask):
    q, k, v = inputs(len(KEPT), 2, dtype=torch.float32)
    found = flex.compute(flex_attention, q, k, v, both(BIGBIRD, mask)[1], None)
    torch.testing.assert_close(found.double(), expected(BIGBIRD, mask, q, k, v), rtol=0, atol=1e-5)


@pytest.mark.parametrize("mask", [MASKS["padded"], pytest.param(MASKS["causal"], marks=pytest.mark.slow)])
def test_flash_reads_as_the_heads_did(mask, monkeypatch):
    ops = pytest.importorskip("manyheads.attention.kernels.ops.flash", reason="needs Triton")
    if not ops.INTERPRETING:
        pytest.skip("Triton was imported before TRITON_INTERPRET=1 was set")
    monkeypatch.setattr(flash, "FEW", 0)
    pattern = BigBird(block=16, window=0, globals=0, random=1, seed=5)
    mask = {key: torch.tensor([49, 18]) if key == "lengths" else x for key, x in mask.items()}
    q, k, v = inputs(len(KEPT), 2, n=49, dtype=torch.float32)
    found = flash.attend(q, k, v, both(pattern, mask, 49)[1], None, 0.0, None)
    torch.testing.assert_close(found.double(), expected(pattern, mask, q, k, v), rtol=0, atol=1e-5)


# --- what attentions keep -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dense", "sigmoid", "auto", "linear", "performer"])
def test_every_attention_counts_its_heads(name, tmp_path):
    more = {"cache": str(tmp_path)} if name == "auto" else {}
    module = build(name, **more)
    module.keep((0, 1), (0,))
    assert (module.heads, module.kv_heads) == (2, 1)


def test_an_attention_keeps_the_dice_of_its_heads():
    module = load("bigbird", heads=6, head_dim=8, kv_heads=None, layer=3, pattern={"block": 4, "random": 2})
    own = module.pattern
    module.keep(KEPT, KEPT)
    assert module.pattern == OfHeads(own, KEPT)
    module.keep((0, 3), (0, 3))
    assert module.pattern == OfHeads(own, (0, 5))


def test_layers_of_as_many_heads_share_what_auto_has_measured(tmp_path):
    """Which heads are left of a pattern is no matter of time."""
    pattern = {"_target_": f"{BigBird.__module__}.BigBird"} | vars(BIGBIRD)
    module = load("auto", heads=4, head_dim=8, kv_heads=2, cache=str(tmp_path), pattern=pattern)
    before = module._shared_pattern
    module.keep((1, 3), (0, 1))
    assert module._shared_pattern == before
    assert isinstance(module.pattern, OfHeads)


def test_rules_that_compete_in_auto_keep_the_same_heads(tmp_path):
    module = build("auto", cache=str(tmp_path), allow_approximate=True)
    module.keep((0, 1), (0,))
    assert [(rule.heads, rule.kv_heads) for rule in module.rules.values()] == [(2, 1)] * len(module.rules)
