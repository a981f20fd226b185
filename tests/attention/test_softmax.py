import logging

import pytest
import torch

from manyheads.attention.kernels import sdpa
from manyheads.attention.mask import Mask
from manyheads.attention.softmax import Softmax
from manyheads.errors import UserError

REASON = "attention.kernel=sdpa needs a Tuesday; choose attention.kernel=reference."


@pytest.fixture
def refusing(monkeypatch):
    """A kernel that refuses; what it would compute is wrong, so that using it all the same shows."""
    monkeypatch.setattr(sdpa, "why_not", lambda q, k, mask, bias, shift: REASON)
    monkeypatch.setattr(sdpa, "attend", lambda q, k, v, mask, bias, dropout, shift: q * float("nan"))


def softmax(strict: bool, kernel: str = "sdpa") -> Softmax:
    return Softmax(2, 4, 0, kv_heads=None, kernel=kernel, dropout=0.0, strict=strict, pattern=None)


def tensors() -> list[torch.Tensor]:
    return [torch.randn(1, 2, 3, 4) for _ in range(3)]


def test_strict_raises_the_reason(refusing):
    attention, (q, k, v) = softmax(strict=True), tensors()
    assert attention.why_not(q, k, Mask(3, 3)) == REASON
    with pytest.raises(UserError, match=REASON):
        attention.attend(q, k, v, Mask(3, 3))


def test_hands_over_to_an_exact_kernel_and_says_so_once(refusing, caplog):
    attention, (q, k, v) = softmax(strict=False), tensors()
    assert attention.used == "sdpa"
    assert attention.why_not(q, k, Mask(3, 3)) is None
    with caplog.at_level(logging.WARNING):
        found = [attention.attend(q, k, v, Mask(3, 3, causal=True)) for _ in range(3)]
    assert attention.used == "blocked"
    assert [r for r in caplog.messages if REASON in r and "blocked" in r] == caplog.messages
    assert len(caplog.messages) == 1
    expected = softmax(strict=True, kernel="blocked").attend(q, k, v, Mask(3, 3, causal=True))
    assert all(torch.equal(out, expected) for out in found)


def test_strict_with_any_kernel_refuses_only_what_none_can_do(refusing):
    attention, (q, k, v) = softmax(strict=True, kernel="any"), tensors()
    assert attention.why_not(q, k, Mask(3, 3)) is None
    attention.attend(q, k, v, Mask(3, 3))
    assert attention.used == "blocked"


def test_a_kernel_that_can_run_is_used_in_silence(caplog):
    attention = softmax(strict=False)
    with caplog.at_level(logging.DEBUG):
        attention.attend(*tensors(), Mask(3, 3))
    assert attention.used == "sdpa"
    assert not caplog.messages


def test_has_no_weights_of_its_own():
    assert not list(softmax(strict=False).parameters())
    assert not softmax(strict=False).state_dict()


def test_an_unknown_kernel_is_refused_when_built():
    with pytest.raises(UserError, match=r"attention\.kernel=nosuch"):
        softmax(strict=False, kernel="nosuch")


@pytest.mark.parametrize("kv_heads", [-1, 0, 4, 5, 7, 12])
def test_kv_heads_that_do_not_divide_are_told_those_that_do(kv_heads):
    with pytest.raises(
        UserError, match=rf"attention\.kv_heads={kv_heads} .* 6 query heads; choose one of 1, 2, 3, 6\."
    ):
        Softmax(6, 4, 0, kv_heads=kv_heads, kernel="sdpa", dropout=0.0, strict=False, pattern=None)
