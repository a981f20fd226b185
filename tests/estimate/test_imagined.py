"""Imagined tensors take the shapes, and the memory, that real ones would; whole numbers stay what they are."""

import torch
from torch._subclasses.fake_tensor import FakeTensor

from manyheads.estimate import imagined
from manyheads.estimate.imagined import Imagined
from manyheads.estimate.ledger import Ledger

N = 4096  # fp32 numbers of 16 KiB: a multiple of any allocator's step


def test_what_lives_at_once_is_the_peak():
    ledger = Ledger("cpu")
    with Imagined(ledger):
        x = torch.empty(N)
        y = x * 2  # x, y
        z = y + 1  # x, y, z: the peak
        del y
        w = z.view(64, -1)  # no memory of its own
        v = w + 1  # x, z, v: as much again
    assert ledger.peak == 3 * 4 * N
    assert ledger.kinds.total() == 3 * 4 * N
    del z, w
    assert ledger.kinds.total() == 2 * 4 * N
    assert isinstance(v, FakeTensor)


def test_what_autograd_saves_stays_until_the_backward_is_over():
    ledger = Ledger("cpu")
    with Imagined(ledger):
        x = torch.empty(N, requires_grad=True)
        loss = x.exp().exp().sum()  # both results are saved
        held = ledger.kinds.total()
        loss.backward()
        del loss
    assert held >= 3 * 4 * N
    assert ledger.kinds.total() == 2 * 4 * N  # x and its gradient


def test_kinds_are_told_apart_at_the_peak():
    ledger = Ledger("cpu")
    with Imagined(ledger):
        with ledger.kind("parameters"):
            x = torch.empty(N)
        y = x + 1
        ledger.call_it(y, "gradients")
        y + 1
    assert ledger.at_peak["parameters"] == 4 * N
    assert ledger.kinds["gradients"] == 4 * N


def test_small_whole_numbers_are_real_and_decide():
    with Imagined(Ledger("cpu")):
        lengths = torch.tensor([3, 1])
        seen = torch.arange(4) < lengths.unsqueeze(1)
        states = torch.zeros(2, 4, 8)
        assert int(lengths.sum()) == 4
        assert states[seen].shape == (4, 8)
        assert seen.nonzero().tolist() == [[0, 0], [0, 1], [0, 2], [1, 0]]
        assert not isinstance(seen, FakeTensor)
        assert isinstance(states, FakeTensor)


def test_an_index_by_a_mask_has_its_gradient():
    with Imagined(Ledger("cpu")):
        x = torch.zeros(2, 4, requires_grad=True)
        x[torch.tensor([[True, False, True, False]] * 2)].sum().backward()
        assert x.grad.shape == x.shape


def test_large_whole_numbers_are_imagined_and_read_as_nothing():
    with Imagined(Ledger("cpu")):
        far = torch.arange(imagined.LIMIT + 1)
        assert isinstance(far, FakeTensor)
        assert not (far > 5).any()
        assert int(far.sum()) == 0


def test_what_is_drawn_in_imagination_is_not_drawn():
    before = torch.random.get_rng_state()
    with Imagined(Ledger("cpu")):
        torch.nn.functional.dropout(torch.randn(N), 0.5)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_work_counts_products_and_bytes_but_no_views():
    ledger = Ledger("cpu")
    with Imagined(ledger):
        a, b = torch.empty(8, 16), torch.empty(16, 4)
        ledger.restart()
        (a @ b).t()
    assert ledger.work.flops == 2 * 8 * 16 * 4
    assert ledger.work.operations == [(2 * 8 * 16 * 4, 4 * (8 * 16 + 16 * 4 + 8 * 4))]
    assert ledger.work.seconds(flops=1.0, moved=1e9, call=3.0) == 2 * 8 * 16 * 4 + 3.0
