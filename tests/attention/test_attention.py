"""What every attention owes to whoever uses it, whatever its rule and kernel."""

import pytest
import torch
from every import HEAD_DIM, HEADS, attentions, build

from manyheads.attention.mask import Mask
from manyheads.errors import UserError

pytestmark = pytest.mark.parametrize("name", attentions())
B, N, GROUPS = 3, 9, 2


def tensors(n=N, m=N) -> list[torch.Tensor]:
    shapes = [(B, HEADS, n, HEAD_DIM), (B, GROUPS, m, HEAD_DIM), (B, GROUPS, m, HEAD_DIM)]
    return [torch.randn(shape, dtype=torch.float64) for shape in shapes]


def elsewhere(x: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """x with other numbers at the hidden keys (b, m)."""
    return torch.where(hidden.view(len(hidden), 1, -1, 1), torch.randn_like(x), x)


def ask(attention, q, k, v, mask: Mask) -> torch.Tensor:
    """The attention's answer; one that says why it cannot run on this mask is skipped."""
    reason = attention.why_not(q, k, mask)
    if reason is not None:
        pytest.skip(reason)
    return attention.attend(q, k, v, mask)


def assert_unread(name: str, make_mask, hidden: torch.Tensor, readers: torch.Tensor) -> None:
    """What stands at `hidden` keys (b, m) changes nothing for the `readers` (b, n), and something for everyone else."""
    attention = build(name)
    q, k, v = tensors(readers.size(1), hidden.size(1))
    before = ask(attention, q, k, v, make_mask())
    after = ask(attention, q, elsewhere(k, hidden), elsewhere(v, hidden), make_mask())
    change = (after - before).abs().amax(-1)
    readers = readers.unsqueeze(1).expand_as(change)
    assert before.abs().amax(-1).min() > 0
    assert not (change[readers] > 1e-12).any()
    assert (change[~readers] > 1e-6).all()


def test_shape_and_dtype(name):
    for n, m in ((N, N), (1, N), (4, N), (1, 1)):
        q, k, v = tensors(n, m)
        out = ask(build(name), q, k, v, Mask(n, m, causal=True))
        assert out.shape == q.shape
        assert out.dtype == q.dtype


@pytest.mark.parametrize("now", [0, 3, N - 2])
def test_no_leak_from_the_future(name, now):
    late = torch.arange(N) > now
    assert_unread(name, lambda: Mask(N, N, causal=True), late.expand(B, N), ~late.expand(B, N))


def test_no_leak_from_the_future_with_a_cache(name):
    late, readers = torch.arange(N) > 5, torch.arange(4) < 1
    assert_unread(name, lambda: Mask(4, N, causal=True), late.expand(B, N), readers.expand(B, 4))


@pytest.mark.parametrize("causal", [False, True])
def test_no_leak_from_padding(name, causal):
    lengths = torch.tensor([N, 4, 1])
    hidden = torch.arange(N) >= lengths.unsqueeze(1)
    everyone = torch.ones(B, N, dtype=torch.bool)
    assert_unread(name, lambda: Mask(N, N, causal=causal, lengths=lengths), hidden, everyone)


@pytest.mark.parametrize("causal", [False, True])
def test_no_leak_across_documents(name, causal):
    documents = torch.tensor([[0, 0, 0, 1, 1, 1, 2, 2, 2]] * B)
    other = documents == 0
    assert_unread(name, lambda: Mask(N, N, causal=causal, documents=documents), other, ~other)


def test_no_leak_across_rows(name):
    hidden = torch.tensor([[False], [True], [False]]).expand(B, N)
    assert_unread(name, lambda: Mask(N, N), hidden, ~hidden)


@pytest.mark.parametrize("causal", [False, True])
def test_a_batch_equals_its_rows_one_by_one(name, causal):
    attention, lengths = build(name), torch.tensor([N, 4, 1])
    q, k, v = tensors()
    together = ask(attention, q, k, v, Mask(N, N, causal=causal, lengths=lengths))
    for b, n in enumerate(lengths.tolist()):
        alone = ask(attention, *(x[b : b + 1, :, :n] for x in (q, k, v)), Mask(n, n, causal=causal))
        torch.testing.assert_close(together[b : b + 1, :, :n], alone)


def test_queries_that_see_nothing_read_zeros_with_finite_gradients(name):
    q, k, v = (x.requires_grad_() for x in tensors())
    out = ask(build(name), q, k, v, Mask(N, N, lengths=torch.tensor([0, N, 2])))
    out.square().sum().backward()
    assert out[0].eq(0).all()
    # A rule may leave q or k out altogether; then there is no gradient to look at.
    found = [x.grad for x in (q, k, v) if x.grad is not None]
    assert found
    assert all(grad.isfinite().all() and grad[0].eq(0).all() for grad in found)


def test_step_by_step_equals_the_full_pass(name):
    attention = build(name)
    q, k, v = tensors()
    whole = ask(attention, q, k, v, Mask(N, N, causal=True))
    for i in range(N):
        step = ask(attention, q[:, :, i : i + 1], k[:, :, : i + 1], v[:, :, : i + 1], Mask(1, i + 1, causal=True))
        torch.testing.assert_close(step, whole[:, :, i : i + 1])


def dropping(name):
    """The attention with dropout, where its yaml and its kernel know any."""
    if not hasattr(build(name), "dropout"):
        pytest.skip(f"attention={name} drops nothing")
    if name == "dense:flex":
        with pytest.raises(UserError, match="cannot drop weights"):
            build(name, dropout=0.5)
        pytest.skip("flex drops nothing, and says so")
    return build(name, dropout=0.5)


def test_evaluation_repeats_itself(name):
    attention = dropping(name)
    q, k, v = tensors()
    first, second = (ask(attention, q, k, v, Mask(N, N, causal=True)) for _ in range(2))
    assert torch.equal(first, second)
    torch.testing.assert_close(first, ask(build(name), q, k, v, Mask(N, N, causal=True)))


def test_training_drops(name):
    attention = dropping(name).train()
    q, k, v = tensors()
    first, second = (ask(attention, q, k, v, Mask(N, N, causal=True)) for _ in range(2))
    assert not torch.allclose(first, second)


def test_training_without_dropout_equals_evaluation(name):
    q, k, v = tensors()
    found = [ask(build(name).train(mode), q, k, v, Mask(N, N)) for mode in (True, False)]
    assert torch.equal(*found)


def test_kv_heads_must_divide(name):
    with pytest.raises(UserError, match=r"attention\.kv_heads=3 .* 4 query heads; choose one of 1, 2, 4\."):
        build(name, kv_heads=3)


def test_kv_heads_left_out_are_as_many_as_heads(name):
    assert build(name, kv_heads=None).kv_heads == HEADS


def test_state_survives_saving(name, tmp_path):
    q, k, v = tensors()
    first, second = build(name), build(name)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(ask(first, q, k, v, Mask(N, N)), ask(second, q, k, v, Mask(N, N)))
