"""Linear attention in Triton against its definition in float64: values and gradients. Without a GPU, interpreted.

The table's chunks are 64 positions (32 in fp32) and segments one unit of 64 at these sizes, so that 150 positions have
several of both, the last of them in part.
"""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from manyheads.attention.features import Elu, Favor
from manyheads.attention.kernels.linear import flash
from manyheads.attention.mask import Mask

triton = pytest.importorskip("triton")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
EPS = 1e-6
ELU = Elu(chunk=64)
ROUNDING = {torch.float32: 1e-5, torch.float16: 3e-3, torch.bfloat16: 3e-2}
"""How far a result may be off, as a share of the largest number of the right one (the interpreter cuts off bf16)."""
GRADIENT_ROUNDING = {torch.float32: 1e-6, torch.float16: 2.5e-3, torch.bfloat16: 2e-2}
"""The same for each number of a gradient by itself, as a share of the sum of its terms' sizes (`terms`): at 16 bits
two to three roundings."""


@dataclass(frozen=True)
class Case:
    """b rows, h query heads on g key-value heads, n queries, m keys, head size d."""

    n: int = 150
    m: int = 150
    h: int = 2
    g: int = 1
    d: int = 32
    causal: bool = True
    lengths: tuple[int, ...] | None = None
    dtype: torch.dtype = torch.float32
    strided: bool = False

    @property
    def b(self) -> int:
        return 1 if self.lengths is None else len(self.lengths)

    def mask(self) -> Mask:
        lengths = None if self.lengths is None else torch.tensor(self.lengths, device=DEVICE)
        return Mask(self.n, self.m, self.causal, lengths, offset=0 if self.causal else None, cross=not self.causal)

    def __str__(self) -> str:
        given = (f"{name}={getattr(self, name)}" for name in self.__dataclass_fields__)
        standard = {f"{name}={getattr(Case(), name)}" for name in self.__dataclass_fields__}
        return ",".join(word for word in given if word not in standard) or "plain"


CASES = [
    Case(),
    Case(n=100, m=100, lengths=(100, 51, 1, 0)),
    Case(h=3, g=3, n=65, m=65, strided=True),
    Case(causal=False, n=70, m=131, lengths=(100, 0)),
    Case(n=90, m=100),
    Case(n=1, m=1),
    Case(dtype=torch.float16, lengths=(100,)),
    Case(dtype=torch.bfloat16, strided=True),
    Case(dtype=torch.bfloat16, causal=False),
]
WIDE = [
    Case(lengths=(150, 77, 1, 0)),
    Case(h=4, g=2, d=40),
    Case(causal=False, n=131, m=70, h=4, g=2, strided=True),
    Case(n=100, m=90),
    Case(n=70, m=70, d=136, h=1),
] + [
    Case(n=n, m=n, h=h, g=g, d=d, causal=causal, lengths=lengths and (n, *lengths), dtype=dtype, strided=strided)
    # The interpreter takes minutes for wide heads, which only differ in how their numbers are cut.
    for n, h, g, d in ((129, 2, 2, 16), (129, 2, 2, 80), (129, 4, 1, 16), (129, 4, 1, 80), (66, 2, 1, 256))
    for causal in (True, False)
    for lengths, dtype, strided in (
        ((0, 1, 63), torch.float32, True),
        (None, torch.float16, False),
        (None, torch.bfloat16, True),
    )
]


def inputs(case: Case) -> list[Tensor]:
    """q, k, v as leaves; strided: heads behind positions, and each a slice of something larger."""
    made = []
    for heads, length in ((case.h, case.n), (case.g, case.m), (case.g, case.m)):
        shape = (case.b, length, heads, case.d + 8) if case.strided else (case.b, heads, length, case.d)
        x = torch.randn(shape, dtype=torch.float64).to(case.dtype).to(DEVICE)
        made.append((x.transpose(1, 2)[..., : case.d] if case.strided else x).requires_grad_())
    return made


def phi(x: Tensor) -> Tensor:
    return torch.where(x > 0, x + 1, x.exp())


def weigh(case: Case, q: Tensor, k: Tensor) -> Tensor:
    """Every weight by itself: (b, h, n, m)."""
    weights = torch.einsum("bhie,bhje->bhij", phi(q), phi(k.repeat_interleave(case.h // case.g, 1)))
    i, j = torch.arange(case.n, device=q.device)[:, None], torch.arange(case.m, device=q.device)[None, :]
    seen = (j <= i) if case.causal else (j >= 0)
    lengths = torch.tensor(case.lengths or [case.m], device=q.device)
    return weights * (seen & (j < lengths[:, None, None])).unsqueeze(1)


def defined(case: Case, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = weigh(case, q, k)
    return weights @ v.repeat_interleave(case.h // case.g, 1) / (weights.sum(-1, keepdim=True) + EPS)


def terms(case: Case, q: Tensor, k: Tensor, v: Tensor, grad: Tensor) -> list[Tensor]:
    """For each number of dq, dk, dv the sum of the sizes of what is added up in it: what its rounding is measured by.

    A row that sees one key has the gradient 0, which is left of terms as large as any.
    """
    with torch.no_grad():
        out, weights = defined(case, q, k, v), weigh(case, q, k)
        total = weights.sum(-1, keepdim=True) + EPS
        k, v = (x.repeat_interleave(case.h // case.g, 1) for x in (k, v))
        each = (grad.abs() @ v.abs().mT + (grad * out).abs().sum(-1, keepdim=True)) / total * (weights > 0)
        dk, dv = each.mT @ phi(q), (weights / total).mT @ grad.abs()
        return [each @ phi(k), *(x.unflatten(1, (case.g, -1)).sum(2) for x in (dk, dv))]


def exact(*tensors: Tensor) -> list[Tensor]:
    return [x.detach().double().requires_grad_() for x in tensors]


def agree(found: Tensor, right: Tensor, dtype: torch.dtype, scale: float) -> None:
    """Largest difference against the largest number at all; where gradients cancel, against that of their terms."""
    assert found.dtype == dtype
    assert found.isfinite().all()
    if right.numel():
        assert (found.double() - right).abs().max() <= ROUNDING[dtype] * max(right.abs().max().item(), scale)


def check(case: Case) -> None:
    given = inputs(case)
    right_given = exact(*given)
    assert flash.why_not(given[0], given[1], case.mask(), ELU) is None
    out, right = flash.attend(*given, case.mask(), ELU, EPS), defined(case, *right_given)
    agree(out, right, case.dtype, 0.0)
    grad = torch.randn_like(out)
    found = torch.autograd.grad(out, given, grad)
    wanted = torch.autograd.grad(right, right_given, grad.double())
    for x, y, size in zip(found, wanted, terms(case, *right_given, grad.double()), strict=True):
        assert x.dtype == case.dtype
        assert ((x.double() - y).abs() <= GRADIENT_ROUNDING[case.dtype] * size).all()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients(case):
    check(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", WIDE, ids=str)
def test_values_and_gradients_over_a_wide_grid(case):
    check(case)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("d", [16, 40, 64, 80, 128, 256])
@pytest.mark.parametrize("causal", [True, False])
def test_long_rows_on_a_gpu(dtype, d, causal):
    check(Case(n=2111, m=2111, h=8, g=2, d=d, causal=causal, lengths=(2111, 1000, 0), dtype=dtype, strided=True))


def test_every_row_of_one_head_is_right_by_itself():
    """Row by row, so that an error in a short row is not small beside a long one."""
    case = Case(lengths=(150, 3))
    given = inputs(case)
    out, right = flash.attend(*given, case.mask(), ELU, EPS).double(), defined(case, *exact(*given))
    assert torch.allclose(out, right, rtol=1e-4, atol=1e-6)


def test_a_row_without_keys_gives_zeros_and_no_gradient():
    case = Case(n=70, m=70, lengths=(0, 70), dtype=torch.float16)
    given = inputs(case)
    out = flash.attend(*given, case.mask(), ELU, EPS)
    assert not out[0].any()
    for x in torch.autograd.grad(out, given, torch.full_like(out, 100.0)):
        assert not x[0].any()
        assert x.isfinite().all()


def test_padding_may_hold_anything():
    case = Case(n=70, m=70, lengths=(50,))
    q, k, v = inputs(case)
    out = flash.attend(q, k, v, case.mask(), ELU, EPS)
    with torch.no_grad():
        k[:, :, 50:], v[:, :, 50:] = float("nan"), float("inf")
    assert torch.equal(out, flash.attend(q, k, v, case.mask(), ELU, EPS))
    for x in torch.autograd.grad(flash.attend(q, k, v, case.mask(), ELU, EPS).sum(), (q, k, v)):
        assert x.isfinite().all()


@pytest.mark.parametrize("at", [63, 64, 100])
def test_no_query_sees_a_later_key(at):
    case = Case()
    q, k, v = (x.detach() for x in inputs(case))
    before = flash.attend(q, k, v, case.mask(), ELU, EPS)
    k[:, :, at], v[:, :, at] = 5.0, 9.0
    after = flash.attend(q, k, v, case.mask(), ELU, EPS)
    assert torch.equal(before[:, :, :at], after[:, :, :at])
    assert not torch.equal(before[:, :, at], after[:, :, at])


def test_features_made_before_the_kernel():
    case = Case(n=40, m=70, causal=False, lengths=(70, 33))
    q, k, v = inputs(case)
    favor = Favor(chunk=64, directions=torch.randn(24, case.d, device=DEVICE), floor=1e-4)
    assert flash.why_not(q, k, case.mask(), favor) is None
    out = flash.attend(q, k, v, case.mask(), favor, EPS)
    grad = torch.randn_like(out)
    right_given = exact(q, k, v)
    right = _favor(case, favor, *right_given)
    agree(out, right, case.dtype, 0.0)
    found = torch.autograd.grad(out, (q, k, v), grad)
    for x, y in zip(found, torch.autograd.grad(right, right_given, grad.double()), strict=True):
        agree(x, y, case.dtype, 0.1)


def _favor(case: Case, favor: Favor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Each row by itself, with its own largest exponent over real keys."""
    rows = []
    for b, length in enumerate(case.lengths):
        keys, top = favor.keys(k[b : b + 1, :, :length])
        keys = keys * (top - top.amax(-1, keepdim=True)).exp().unsqueeze(-1) + favor.floor
        weights = torch.einsum("bhie,bgje->bhij", favor.queries(q[b : b + 1]), keys)
        rows.append(weights @ v[b : b + 1, :, :length] / (weights.sum(-1, keepdim=True) + EPS))
    return torch.cat(rows)


@pytest.mark.slow
def test_operators_are_what_torch_expects():
    from manyheads.attention.kernels.ops.linear import forward

    case = Case(n=20, m=20, d=16, h=2, lengths=(20, 7))
    lengths = torch.tensor(case.lengths, device=DEVICE)
    torch.library.opcheck(forward, (*inputs(case), lengths, True, True, EPS))
    torch.library.opcheck(forward, (*inputs(replace(case, strided=True)), None, False, True, EPS))


@pytest.mark.slow
def test_a_compiled_model_has_no_graph_break():
    case = Case(n=70, m=70, h=2, g=1)
    q, k, v = inputs(case)

    @torch.compile(fullgraph=True, backend="aot_eager")
    def compiled(q, k, v):
        return flash.attend(q, k, v, case.mask(), ELU, EPS) * 2

    plain = flash.attend(q, k, v, case.mask(), ELU, EPS) * 2
    out = compiled(q, k, v)
    assert torch.equal(out, plain)
    for x, y in zip(*(torch.autograd.grad(o.sum(), (q, k, v)) for o in (out, plain)), strict=True):
        assert torch.equal(x, y)


REFUSED = {
    "float64": (lambda q: q.double(), Mask(4, 4), "computes in"),
    "size": (lambda q: q[..., :8], Mask(4, 4), "heads of size"),
    "documents": (lambda q: q, Mask(4, 4, documents=torch.zeros(1, 4, dtype=torch.int64)), "documents"),
    "cached": (lambda q: q, Mask(1, 4, causal=True), "cached"),
    "offsets": (lambda q: q, Mask(4, 4, causal=True, offset=torch.tensor([0])), "cached"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_cannot_do_it_says(name):
    change, mask, word = REFUSED[name]
    q = change(torch.zeros(1, 1, 4, 16, device=DEVICE))
    assert word in flash.why_not(q, q, mask, ELU)


def test_causal_features_with_a_stabiliser_are_refused():
    q = torch.zeros(1, 1, 4, 16, device=DEVICE)
    favor = Favor(chunk=64, directions=torch.randn(600, 16, device=DEVICE), floor=1e-4)
    assert "without causality" in flash.why_not(q, q, Mask(4, 4, causal=True), favor)
    assert "512 features" in flash.why_not(q, q, Mask(4, 4), favor)
