import pytest
import torch

from manyheads.position.alibi import Alibi
from manyheads.position.learned import Learned
from manyheads.position.none import NoPosition
from manyheads.position.rope import Rope
from manyheads.position.sinusoidal import Sinusoidal

PLAIN = {"scaling": "none", "factor": 1.0, "original": None, "fast": 32.0, "slow": 1.0}
SCHEMES = {
    "none": (NoPosition, set()),
    "sinusoidal": (Sinusoidal, {"embed"}),
    "learned": (lambda *size: Learned(*size, limit=64), {"embed"}),
    "rope": (lambda *size: Rope(*size, base=10_000.0, **PLAIN), {"rotate"}),
    "alibi": (Alibi, {"bias"}),
}


@pytest.mark.parametrize("name", SCHEMES)
def test_order_enters_in_one_place(name):
    make, expected = SCHEMES[name]
    scheme, x, q, k = make(16, 2, 8), torch.randn(1, 5, 16), torch.randn(1, 2, 5, 8), torch.randn(1, 1, 5, 8)
    changed = {
        "embed": not torch.equal(scheme.embed(x, 1), x),
        "rotate": not all(torch.equal(*pair) for pair in zip(scheme.rotate(q, k, 1), (q, k), strict=True)),
        "bias": scheme.bias is not None,
    }
    assert {hook for hook, acts in changed.items() if acts} == expected
