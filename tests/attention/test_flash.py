"""The Triton kernels against the specification in float64, on a GPU or, without one, interpreted (see conftest)."""

from dataclasses import replace
from itertools import cycle

import pytest
import torch
from oracle import Case, cases
from torch.library import opcheck

from manyheads.attention.bias import DistanceBias
from manyheads.attention.kernels import flash, reference
from manyheads.attention.mask import Mask
from manyheads.attention.patterns.bigbird import BigBird
from manyheads.attention.patterns.window import Window
from manyheads.errors import UserError
from manyheads.position.alibi import slopes

ops = pytest.importorskip("manyheads.attention.kernels.ops.flash", reason="needs Triton")
tuned = pytest.importorskip("manyheads.attention.kernels.ops.tuned")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu" and not ops.INTERPRETING:
    pytest.skip("Triton was imported before TRITON_INTERPRET=1 was set", allow_module_level=True)

needs_gpu = pytest.mark.skipif(DEVICE != "cuda" or ops.INTERPRETING, reason="needs a GPU")
RULES = ["softmax", "sigmoid"]
B = 3


@pytest.fixture(autouse=True)
def lists(monkeypatch):
    """Short tests are to have lists where long masks have them."""
    monkeypatch.setattr(flash, "FEW", 0)


def unpatterned(n: int) -> list[Case]:
    """The oracle's masks; its patterns are functions of no particular shape, which this kernel refuses."""
    kept = (case for case in cases(n) if case.name not in ("pattern", "causal+pattern", "blind-queries"))
    return [replace(case, pattern=None) for case in kept]


def placed(mask: Mask) -> Mask:
    """The mask with its tensors on the device."""
    moved = {
        name: getattr(mask, name).to(DEVICE)
        for name in ("lengths", "documents", "offset")
        if isinstance(getattr(mask, name), torch.Tensor)
    }
    return replace(mask, **moved)


def inputs(mask: Mask, b=B, h=2, g=1, d=16, dtype=torch.float32) -> list[torch.Tensor]:
    shapes = [(b, h, mask.queries, d), (b, g, mask.keys, d), (b, g, mask.keys, d)]
    return [torch.randn(shape, device=DEVICE).to(dtype).requires_grad_() for shape in shapes]


def shifted(rule: str, mask: Mask, h: int) -> torch.Tensor | None:
    """Of the smallest shape that broadcasts, to see that it does."""
    return None if rule == "softmax" else torch.randn(1, h, mask.queries, device=DEVICE)


def gradients(out: torch.Tensor, weights: torch.Tensor, *wanted: torch.Tensor) -> list[torch.Tensor]:
    # The second term is for masks under which nothing depends on anything.
    return list(torch.autograd.grad((out * weights).sum() + 0 * sum(x.sum() for x in wanted), wanted))


def exact(mask: Mask, q, k, v, bias=None, shift=None, weights=None) -> list[torch.Tensor]:
    """Output and gradients of the specification in float64."""
    q, k, v = (x.detach().double().requires_grad_() for x in (q, k, v))
    shift = None if shift is None else shift.double()
    out = reference.attend(q, k, v, mask, bias, 0.0, shift)
    return [out, *gradients(out, torch.ones_like(out) if weights is None else weights.double(), q, k, v)]


def check(mask: Mask, q, k, v, bias=None, shift=None, tolerance=2e-6) -> None:
    """Output and gradients equal the specification's, errors measured against the greatest number there."""
    mask = placed(mask)
    assert flash.why_not(q, k, mask, bias, shift) is None
    out = flash.attend(q, k, v, mask, bias, 0.0, shift)
    assert (out.dtype, out.shape) == (q.dtype, q.shape)
    weights = torch.randn_like(out)
    found = [out, *gradients(out, weights, q, k, v)]
    expected = exact(mask, q, k, v, bias, shift, weights)
    for what, one, other in zip(("out", "dq", "dk", "dv"), found, expected, strict=True):
        scale = max(1.0, other.abs().max().item()) if other.numel() else 1.0
        torch.testing.assert_close(
            one.double(), other, rtol=0, atol=tolerance * scale, msg=lambda m, what=what: f"{what}: {m}"
        )


@pytest.mark.parametrize("case", unpatterned(19), ids=lambda case: case.name)
def test_every_mask(case):
    mask = case.mask()
    check(mask, *inputs(mask))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("rule", RULES)
def test_groups_biases_and_several_tiles(rule, causal):
    mask = Mask(queries=37, keys=45, causal=causal, lengths=torch.tensor([45]))
    bias = DistanceBias(slopes(4).to(DEVICE))
    check(mask, *inputs(mask, b=1, h=4, g=2), bias, shifted(rule, mask, 4))


@pytest.mark.parametrize("d", [17, 40, 80])
def test_heads_of_any_size(d):
    mask = Mask(queries=20, keys=20, causal=True)
    check(mask, *inputs(mask, b=1, d=d))


PATTERNS = {
    "window": Window(width=9, dilation=1, globals=0),
    "window-globals": Window(width=6, dilation=1, globals=3),
    "window-dilated": Window(width=3, dilation=4, globals=1),
    "bigbird": BigBird(block=16, window=0, globals=1, random=1, seed=3),
    "bigbird-32": BigBird(block=32, window=0, globals=0, random=1, seed=3),
}


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_patterns(pattern, causal):
    mask = Mask(queries=49, keys=49, causal=causal, lengths=torch.tensor([49, 37]), pattern=pattern)
    check(mask, *inputs(mask, b=2))


@pytest.mark.parametrize("pattern", [None, PATTERNS["window-globals"]])
def test_patterns_with_documents_groups_and_sigmoid(pattern):
    documents = torch.tensor([[0] * 11 + [1] * 30 + [2] * 9, [0] * 50])
    mask = Mask(queries=50, keys=50, causal=True, documents=documents, pattern=pattern)
    check(mask, *inputs(mask, b=2, h=4, g=2), DistanceBias(slopes(4).to(DEVICE)), shifted("sigmoid", mask, 4))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("name", [None, "window", "window-globals"])
def test_windows_and_documents_need_no_lists(name, causal, monkeypatch):
    """As in a compiled graph, and for a few cached queries."""
    monkeypatch.setattr(flash, "FEW", 1000)
    documents = torch.tensor([[0] * 11 + [1] * 40 + [2] * 9]) if name is None else None
    pattern, lengths = PATTERNS.get(name), torch.tensor([57])
    for n in (60, 3):
        mask = Mask(queries=n, keys=60, causal=causal, lengths=lengths, documents=documents, pattern=pattern)
        check(mask, *inputs(mask, b=1))


@pytest.mark.parametrize("name", ["window", "bigbird"])
def test_tiles_that_nobody_needs_are_not_listed(name):
    """Else the tests above could not see a wrong list."""
    n = 1200 if DEVICE == "cuda" else 70
    mask = placed(Mask(queries=n, keys=n, pattern=PATTERNS[name]))
    q, k, v = inputs(mask, b=1)
    lists, block, _ = flash._lists(q, k, v, mask, False)
    for at, kernel in enumerate(flash.KERNELS):
        size, index = ops.config(kernel, q, block, False), lists[3 * at + 1]
        heads = lists[3 * at].size(1)
        assert len(index) < heads * -(-n // size.queries) * -(-n // size.keys)


DECODING = [
    Mask(queries=1, keys=70, causal=True),
    Mask(queries=3, keys=75, causal=True),
    Mask(queries=1, keys=70, causal=True, lengths=torch.tensor([70, 1, 35]), offset=torch.tensor([69, 0, 34])),
    Mask(queries=2, keys=64, lengths=torch.tensor([64, 0, 33])),
]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("mask", DECODING, ids=["one", "chunk", "rows", "cross"])
def test_few_queries_split_their_keys(mask, rule, monkeypatch):
    used = []
    decode = ops._Call.decode
    monkeypatch.setattr(ops._Call, "decode", lambda self, *rest: used.append(rest[-1]) or decode(self, *rest))
    monkeypatch.setattr(ops, "_processors", lambda device: 9)
    check(mask, *inputs(mask, h=4, g=2, d=24), DistanceBias(slopes(4).to(DEVICE)), shifted(rule, mask, 4))
    if DEVICE == "cpu":
        assert used == [3]


def test_any_strides():
    """Heads behind positions, slices of one joint tensor, a last stride of its own, an expanded gradient."""
    mask = Mask(queries=20, keys=20, causal=True)
    joint = torch.randn(2, 20, 3, 2, 16, device=DEVICE)
    q, k, v = (x.transpose(1, 2).requires_grad_() for x in joint.unbind(2))
    check(mask, q, k, v)
    k = torch.randn(2, 2, 16, 20, device=DEVICE).mT.requires_grad_()
    check(mask, q, k, v)
    few = torch.tensor([7, 20], device=DEVICE)[:1].expand(2)
    check(Mask(queries=20, keys=20, lengths=few, offset=few), q, k, v)
    out = flash.attend(q, k, v, mask, None, 0.0, None)
    assert out.stride() == torch.empty_like(q).stride()
    found = torch.autograd.grad(out.sum(), (q, k, v))
    torch.testing.assert_close(list(found), [x.float() for x in exact(mask, q, k, v)[1:]], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_at_most_twice_as_far_from_float64_as_plain_torch(dtype):
    mask = placed(Mask(queries=37, keys=37, causal=True))
    q, k, v = inputs(mask, b=1, dtype=dtype)
    weights = torch.randn_like(q)
    found = flash.attend(q, k, v, mask, None, 0.0, None)
    plain = (q @ k.mT / 4).masked_fill(~mask.dense(2, q.device), float("-inf")).softmax(-1) @ v
    ours, theirs = ([out, *gradients(out, weights, q, k, v)] for out in (found, plain))
    for one, other, true in zip(ours, theirs, exact(mask, q, k, v, weights=weights), strict=True):
        allowance = 2 * (other.double() - true).abs().max() + torch.finfo(dtype).eps * true.abs().max()
        assert one.dtype == dtype
        assert (one.double() - true).abs().max() <= allowance


def test_queries_that_see_nothing_give_zero_and_no_gradient():
    for rule in RULES:
        mask = placed(Mask(queries=20, keys=20, lengths=torch.tensor([0, 20, 0])))
        q, k, v = inputs(mask)
        out = flash.attend(q, k, v, mask, None, 0.0, shifted(rule, mask, 2))
        found = gradients(out, torch.randn_like(out), q, k, v)
        for x in (out, *found):
            assert x.isfinite().all()
            assert x[[0, 2]].eq(0).all()
            assert x[1].ne(0).any()


def test_nothing_leaks_from_the_future_from_padding_or_from_other_documents():
    """Bit by bit: what is hidden may be anything."""
    lengths, documents = torch.tensor([33]), torch.tensor([[0] * 9 + [1] * 28])
    hidden = {
        "future": (Mask(queries=37, keys=37, causal=True), slice(20, 37), slice(0, 20)),
        "padding": (Mask(queries=37, keys=37, lengths=lengths), slice(33, 37), slice(0, 37)),
        "documents": (Mask(queries=37, keys=37, documents=documents), slice(9, 37), slice(0, 9)),
    }
    for name, (mask, edited, same) in hidden.items():
        mask = placed(mask)
        q, k, v = (x.detach() for x in inputs(mask, b=1))
        before = flash.attend(q, k, v, mask, None, 0.0, None)
        k[:, :, edited], v[:, :, edited] = 1e4, -1e4
        assert torch.equal(flash.attend(q, k, v, mask, None, 0.0, None)[:, :, same], before[:, :, same]), name


def weights_of(mask: Mask, q, k, dropout: float, shift=None) -> torch.Tensor:
    """The very weights (b, h, n, m), read by values that are unit vectors; heads must be longer than keys."""
    v = torch.eye(mask.keys, q.size(-1), device=DEVICE).expand(k.shape).contiguous()
    return flash.attend(q, k, v, mask, None, dropout, shift)[..., : mask.keys]


@pytest.mark.parametrize("rule", RULES)
def test_dropout_is_replayed_by_the_backward(rule):
    """Gradients are those of the weights that the forward dropped, in float64 and with the mask written out."""
    mask, share = placed(Mask(queries=37, keys=40, causal=True)), 0.3
    q, k, v = inputs(mask, b=1, h=2, g=1, d=64)
    shift = shifted(rule, mask, 2)
    torch.manual_seed(5)
    kept = weights_of(mask, q, k, share, shift).detach() > 0
    torch.manual_seed(5)
    out = flash.attend(q, k, v, mask, None, share, shift)
    factor = torch.randn_like(out)
    found = [out, *gradients(out, factor, q, k, v)]
    q, k, v = (x.detach().double().requires_grad_() for x in (q, k, v))
    units = torch.eye(40, device=DEVICE, dtype=torch.float64).expand(1, 1, 40, 40)
    weights = reference.attend(q, k, units, mask, None, 0.0, None if shift is None else shift.double())
    expected = weights * kept / (1 - share) @ v
    seen = mask.dense(2, q.device).expand(weights.shape)
    assert 0.6 < kept[seen].float().mean() < 0.8
    for one, other in zip(found, [expected, *gradients(expected, factor.double(), q, k, v)], strict=True):
        torch.testing.assert_close(one.double(), other, rtol=0, atol=1e-5)


def test_dropout_differs_between_rows_heads_and_calls_and_repeats_with_the_seed():
    mask = placed(Mask(queries=20, keys=20))
    q = torch.zeros(2, 2, 20, 32, device=DEVICE)
    first, second = weights_of(mask, q, q, 0.5), weights_of(mask, q, q, 0.5)
    torch.manual_seed(0)
    again = weights_of(mask, q, q, 0.5)
    torch.manual_seed(0)
    assert torch.equal(weights_of(mask, q, q, 0.5), again)
    different = [first[0, 0], first[0, 1], first[1, 0], second[0, 0]]
    assert all(not torch.equal(a, b) for n, a in enumerate(different) for b in different[:n])
    # Neither by query nor by key: no two lines of the mask are the same.
    assert len({tuple(line) for line in first[0, 0].tolist()} | {tuple(line) for line in first[0, 0].T.tolist()}) == 40


def test_autocast_decides_the_type():
    mask = placed(Mask(queries=20, keys=20))
    q, k, v = inputs(mask, b=1)
    with torch.autocast(DEVICE, torch.bfloat16):
        out = flash.attend(q, k.bfloat16(), v, mask, None, 0.0, None)
    assert out.dtype == torch.bfloat16
    out.sum().backward()
    assert {x.grad.dtype for x in (q, k, v)} == {torch.float32}


def arguments(mask: Mask, dropout=0.0) -> tuple:
    q, k, v = inputs(mask, b=1)
    lists, block, window = flash._lists(q, k, v, mask, False)
    seed = torch.tensor([3], device=DEVICE) if dropout else None
    return q, k, v, None, None, seed, None, None, None, lists, block, mask.causal, mask.offset, window, dropout


@pytest.mark.parametrize("pattern", [None, PATTERNS["window"]], ids=["plain", "lists"])
def test_the_operator_keeps_what_it_promises_to_torch(pattern):
    mask = placed(Mask(queries=20, keys=20, causal=True, pattern=pattern))
    opcheck(ops.flash_forward, arguments(mask, 0.1))


@pytest.mark.parametrize("name", [None, "window"])
def test_a_compiled_graph_has_no_break(name):
    mask = placed(Mask(queries=20, keys=20, causal=True, pattern=PATTERNS.get(name)))
    q, k, v = inputs(mask, b=1)

    def twice(q, k, v):
        assert flash.why_not(q, k, mask, None, None) is None
        return 2 * flash.attend(q, k, v, mask, None, 0.0, None)

    out = torch.compile(twice, fullgraph=True, backend="aot_eager")(q, k, v)
    weights = torch.randn_like(out)
    found, expected = gradients(out, weights, q, k, v), gradients(twice(q, k, v), weights, q, k, v)
    torch.testing.assert_close([out, *found], [twice(q, k, v), *expected], rtol=0, atol=0)


def test_no_second_derivative():
    mask = placed(Mask(queries=5, keys=5))
    q, k, v = inputs(mask, b=1)
    (dq,) = torch.autograd.grad(flash.attend(q, k, v, mask, None, 0.0, None).square().sum(), q, create_graph=True)
    with pytest.raises(NotImplementedError, match="no second derivative; take"):
        dq.sum().backward()


def test_nothing_to_read_or_nobody_to_read_it():
    for n, m in ((0, 5), (5, 0)):
        mask = placed(Mask(queries=n, keys=m))
        check(mask, *inputs(mask, b=1))


REFUSED = {
    "computes in bf16, fp16 and fp32, not torch.float64": lambda q: {"q": q.double()},
    "heads of size 16 to 256, not 8": lambda q: {"q": q[..., :8]},
    "heads of size 16 to 256, not 272": lambda q: {"q": q.new_empty(1, 2, 20, 272)},
    "no bias of one number per pair": lambda q: {"bias": q.new_zeros(20, 20)},
    "slopes no gradient": lambda q: {"bias": DistanceBias(slopes(2).to(DEVICE).requires_grad_())},
    "shift no gradient": lambda q: {"shift": q.new_zeros(1, 1, 20, requires_grad=True)},
    "cannot cut BigBird": lambda q: {
        "mask": Mask(queries=20, keys=20, pattern=BigBird(block=5, window=1, globals=0, random=0, seed=0))
    },
}


@pytest.mark.parametrize(("sentence", "made"), REFUSED.items(), ids=REFUSED)
def test_refuses_in_one_sentence_and_says_what_to_take(sentence, made):
    q = torch.zeros(1, 2, 20, 16, device=DEVICE)
    given = {"q": q, "k": q, "mask": Mask(queries=20, keys=20), "bias": None, "shift": None} | made(q)
    reason = flash.why_not(**given)
    assert sentence in reason
    assert "take attention.kernel=" in reason
    assert isinstance(UserError(reason), Exception)


def test_refuses_a_cpu_that_nobody_asked_to_interpret_on(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    q = torch.zeros(1, 2, 20, 16)
    assert "needs a CUDA device, but q is on cpu" in flash.why_not(q, q, Mask(queries=20, keys=20), None, None)


@pytest.mark.parametrize("busy", [True, False])
@pytest.mark.parametrize("width", [2, 4])
@pytest.mark.parametrize("device", ["sm_90", "sm_80", tuned.INTERPRETER])
def test_every_device_type_and_head_size_has_its_sizes(device, width, busy):
    for kernel in (*flash.KERNELS, "split"):
        for size in (16, 32, 64, 128, 256):
            config = tuned.find(kernel, device, size, width, busy)
            assert all(x >= 16 and x & (x - 1) == 0 for x in (config.queries, config.keys))
            plain = tuned.find(kernel, device, size, width, False)
            assert config.queries <= plain.queries
            assert config.keys <= plain.keys


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("g", [1, 2])
@pytest.mark.parametrize("n", [1, 33])
def test_the_whole_grid(n, g, rule):
    biases = cycle((None, DistanceBias(slopes(4).to(DEVICE))))
    for case, bias in zip(unpatterned(n), biases, strict=False):
        mask = case.mask()
        check(mask, *inputs(mask, h=4, g=g, d=24), bias, shifted(rule, mask, 4))


@pytest.mark.slow
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_longer_patterns(pattern, causal):
    for n, lengths in ((33, [33, 0, 16]), (110, [110, 67, 1])):
        mask = Mask(queries=n, keys=n, causal=causal, lengths=torch.tensor(lengths), pattern=pattern)
        check(mask, *inputs(mask, h=2, g=1))
    mask = Mask(queries=3, keys=110, causal=True, pattern=pattern)
    check(mask, *inputs(mask, h=2, g=1))


@pytest.mark.slow
def test_offsets_beyond_32_bits():
    """A row of the batch 2³¹ elements behind the other; nothing between them is ever touched."""
    far = torch.empty(2**31 + 2**10, dtype=torch.float16, device=DEVICE)
    q = far.as_strided((2, 2, 20, 16), (2**31, 320, 16, 1))
    q.copy_(torch.randn(q.shape))
    mask = Mask(queries=20, keys=20, causal=True)
    near = q.contiguous()
    args = (mask, None, 0.0, None)
    assert torch.equal(flash.attend(q, q, q, *args), flash.attend(near, near, near, *args))


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("d", [64, 80, 128, 256])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("causal", [True, False])
def test_on_a_gpu_at_real_sizes(causal, dtype, d):
    mask = placed(Mask(queries=1000, keys=1100, causal=causal, lengths=torch.tensor([1100, 517])))
    against_plain(mask, inputs(mask, b=2, h=8, g=2, d=d, dtype=dtype))


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("d", [64, 128])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(
    "pattern",
    [
        Window(width=200, dilation=1, globals=0),
        Window(width=70, dilation=2, globals=5),
        BigBird(block=64, window=1, globals=2, random=3, seed=0),
    ],
    ids=str,
)
def test_patterns_on_a_gpu_at_real_sizes(pattern, causal, d):
    lengths = torch.tensor([2000, 1234])
    mask = placed(Mask(queries=2000, keys=2000, causal=causal, lengths=lengths, pattern=pattern))
    against_plain(mask, inputs(mask, b=2, h=4, g=2, d=d, dtype=torch.bfloat16))


def against_plain(mask: Mask, qkv: list[torch.Tensor]) -> None:
    """At most twice as far from float64 as plain torch in the same type, and the same bits in two runs."""
    q, k, v = qkv
    weights, types = torch.randn_like(q), torch.finfo(q.dtype)
    runs = [flash.attend(q, k, v, mask, None, 0.0, None) for _ in range(2)]
    ours, again = ([out, *gradients(out, weights, q, k, v)] for out in runs)
    plain = reference.attend(q, k, v, mask, None, 0.0, None)
    theirs = [plain, *gradients(plain, weights, q, k, v)]
    for one, same, other, true in zip(ours, again, theirs, exact(mask, q, k, v, weights=weights), strict=True):
        assert torch.equal(one, same)
        allowance = 2 * (other.double() - true).abs().max() + 4 * types.eps * true.abs().max()
        assert (one.double() - true).abs().max() <= allowance


@pytest.mark.gpu
@needs_gpu
def test_decoding_on_a_gpu_at_real_sizes():
    for n in (1, 4):
        mask = Mask(queries=n, keys=5000, causal=True, lengths=torch.tensor([5000, 17]))
        check(mask, *inputs(mask, b=2, h=8, g=2, d=128), tolerance=1e-5)
