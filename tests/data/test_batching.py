"""What makes a batch: no row lost or doubled, no budget passed, the same on every machine, fair to every rank."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from torch.utils.data import DistributedSampler

from manyheads.data.batching import EveryRow, TokenBatches, _halve
from manyheads.errors import UserError

BUDGET = 300


@pytest.fixture(scope="module")
def lengths():
    chance = np.random.default_rng(0)
    return np.concatenate([chance.integers(1, 30, (700, 2)), chance.integers(30, 140, (60, 2))])


def cost(lengths, rows):
    return len(rows) * lengths[rows].max(0).sum()


def batches(lengths, epoch=0, seed=1, rank=0, world=1, pool=200):
    sampler = TokenBatches(lengths, BUDGET, pool, seed, rank, world)
    sampler.set_epoch(epoch)
    return list(sampler)


@pytest.mark.parametrize("pool", [1, 50, 10_000])
def test_an_epoch_has_every_row_once_and_no_batch_over_budget(lengths, pool):
    for epoch in range(3):
        plan = batches(lengths, epoch, pool=pool)
        assert sorted(row for rows in plan for row in rows) == list(range(len(lengths)))
        assert max(cost(lengths, rows) for rows in plan) <= BUDGET


def test_every_epoch_has_as_many_batches_as_len_says_and_other_batches(lengths):
    sampler = TokenBatches(lengths, BUDGET, 200, seed=1)
    plans = [batches(lengths, epoch) for epoch in range(6)]
    assert {len(plan) for plan in plans} == {len(sampler)}
    sets = [{frozenset(rows) for rows in plan} for plan in plans]
    assert len(sets[0] & sets[1]) < len(sampler) / 3


def test_the_number_of_batches_holds_where_chance_gives_more_or_fewer(lengths):
    """Epoch 0 may have drawn few batches; over many seeds all three cases come up: more, fewer, the same."""
    drawn = set()
    for seed in range(12):
        sampler = TokenBatches(lengths, BUDGET, 100, seed)
        for epoch in range(5):
            sampler.set_epoch(epoch)
            drawn.add(np.sign(len(sampler._draw(epoch, 0)) - len(sampler)))
            assert sorted(row for rows in sampler for row in rows) == list(range(len(lengths)))
            assert len(list(sampler)) == len(sampler)
    assert drawn == {-1, 0, 1}


def test_one_row_a_batch_is_enough():
    sampler = TokenBatches(np.full((5, 2), 150), BUDGET, 10, seed=1)
    assert sorted(sampler) == [[0], [1], [2], [3], [4]]


def test_rows_get_around(lengths):
    """Over some epochs a short row meets far more rows than one batch holds."""
    met = set()
    for epoch in range(10):
        met |= next(set(rows) for rows in batches(lengths, epoch) if 5 in rows)
    assert len(met) > 2 * max(len(rows) for rows in batches(lengths))


def test_seed_and_epoch_decide_everything(lengths):
    assert batches(lengths, 4) == batches(lengths, 4)
    assert batches(lengths, 4) != batches(lengths, 5)
    assert batches(lengths, 4) != batches(lengths, 4, seed=2)


def test_another_process_draws_the_same(lengths):
    code = (
        "import hashlib, numpy as np; from manyheads.data.batching import TokenBatches;"
        "l = np.random.default_rng(9).integers(1, 40, (500, 2));"
        "s = TokenBatches(l, 300, 100, 7); s.set_epoch(3);"
        "print(hashlib.sha256(repr(list(s)).encode()).hexdigest())"
    )
    sampler = TokenBatches(np.random.default_rng(9).integers(1, 40, (500, 2)), 300, 100, 7)
    sampler.set_epoch(3)
    here = hashlib.sha256(repr(list(sampler)).encode()).hexdigest()
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here


@pytest.mark.parametrize("world", [2, 3, 8])
def test_ranks_share_no_row_and_step_together(lengths, world):
    total = len(batches(lengths))
    for epoch in range(3):
        ranks = [batches(lengths, epoch, rank=rank, world=world) for rank in range(world)]
        assert {len(plan) for plan in ranks} == {total // world}
        rows = [row for plan in ranks for batch in plan for row in batch]
        assert len(rows) == len(set(rows))


def test_batches_of_a_step_are_neighbours_in_length(lengths):
    ranks = [batches(lengths, rank=rank, world=4) for rank in range(4)]
    longest = np.array([[lengths[rows][:, 1].max() for rows in plan] for plan in ranks])
    spread = (longest.max(0) - longest.min(0)).mean()
    assert spread < longest.std() / 2


def test_what_sits_out_changes_with_the_epoch(lengths):
    world = next(n for n in range(3, 20) if len(batches(lengths)) % n)
    out = []
    for epoch in range(8):
        seen = {
            row for rank in range(world) for rows in batches(lengths, epoch, rank=rank, world=world) for row in rows
        }
        out.append(set(range(len(lengths))) - seen)
    assert all(out)
    assert not set.intersection(*out)


def test_the_place_in_an_epoch_is_kept_and_a_new_epoch_begins_at_its_start(lengths):
    whole = batches(lengths, 2)
    sampler = TokenBatches(lengths, BUDGET, 200, seed=1)
    sampler.epoch, sampler.first = 2, 5
    sampler.set_epoch(2)
    assert list(sampler) == whole[5:]
    sampler.set_epoch(3)
    assert list(sampler) == batches(lengths, 3)


def test_padding_is_the_share_of_padded_cells(lengths):
    sampler = TokenBatches(lengths, BUDGET, 200, seed=1)
    cells = sum(cost(lengths, rows) for rows in sampler)
    assert sampler.padding == pytest.approx(1 - lengths.sum() / cells)
    unsorted = TokenBatches(lengths, BUDGET, 40, seed=1)
    assert TokenBatches(lengths, BUDGET, 10_000, seed=1).padding < sampler.padding < unsorted.padding


def test_a_row_that_no_budget_holds_is_named():
    lengths = np.array([[3, 4], [200, 150]])
    with pytest.raises(UserError, match=r"line 2 alone is 350 tokens .*data.batch_tokens=300"):
        TokenBatches(lengths, 300, 10, 1, where=lambda row: f"line {row + 1}")


def test_too_few_batches_for_the_ranks_is_said():
    with pytest.raises(UserError, match="too few for 4 processes"):
        TokenBatches(np.full((4, 2), 3), 300, 10, 1, 0, 4)


@pytest.mark.parametrize("world", [1, 2, 7])
def test_evaluation_sees_every_row_once_over_all_ranks(lengths, world):
    ranks = [list(EveryRow(lengths, BUDGET, rank, world)) for rank in range(world)]
    assert sorted(row for plan in ranks for rows in plan for row in rows) == list(range(len(lengths)))
    assert all(cost(lengths, rows) <= BUDGET for plan in ranks for rows in plan if len(rows) > 1)
    assert [len(EveryRow(lengths, BUDGET, rank, world)) for rank in range(world)] == [len(plan) for plan in ranks]


def test_evaluation_keeps_its_order_and_a_row_over_the_budget(lengths):
    long = np.concatenate([lengths, [[400, 10]]])
    assert [len(lengths)] in list(EveryRow(long, BUDGET))
    sampler = EveryRow(lengths, BUDGET)
    assert list(sampler) == list(sampler)


def test_every_rank_has_a_batch_though_one_would_hold_all_rows():
    ranks = [list(EveryRow(np.full((5, 2), 3), BUDGET, rank, 3)) for rank in range(3)]
    assert all(ranks)
    assert sorted(row for plan in ranks for rows in plan for row in rows) == list(range(5))


def test_fewer_rows_than_ranks_are_refused():
    with pytest.raises(UserError, match="1 rows cannot be shared out among 3 processes"):
        EveryRow(np.full((1, 2), 3), BUDGET, 0, 3)


def test_lightning_leaves_training_batches_alone():
    """It wraps every sampler that is no DistributedSampler into one, which would share the batches out twice."""
    assert issubclass(TokenBatches, DistributedSampler)


def steps(lengths, world, accumulate, epoch=0):
    """The rows that each step of the optimizer takes, over all ranks, in order."""
    ranks = [TokenBatches(lengths, BUDGET, 200, 1, rank, world, accumulate=accumulate) for rank in range(world)]
    for sampler in ranks:
        sampler.set_epoch(epoch)
    plans = [list(sampler) for sampler in ranks]
    assert {len(plan) for plan in plans} == {len(ranks[0])}
    begins = range(0, len(ranks[0]), accumulate)
    return [sorted(row for plan in plans for rows in plan[at : at + accumulate] for row in rows) for at in begins]


@pytest.mark.parametrize("epoch", [0, 3])
def test_what_a_step_takes_depends_on_how_many_batches_it_takes_alone(lengths, epoch):
    assert steps(lengths, 1, 4, epoch) == steps(lengths, 2, 2, epoch) == steps(lengths, 4, 1, epoch)
    assert steps(lengths, 1, 4, epoch) != steps(lengths, 1, 2, epoch)[: len(steps(lengths, 1, 4, epoch))]


def test_more_batches_than_an_epoch_has_make_one_step_of_all():
    lengths = np.full((10, 2), 100)
    found = list(TokenBatches(lengths, BUDGET, 200, 1, accumulate=50))
    assert sorted(row for rows in found for row in rows) == list(range(10))


def test_the_largest_is_halved_each_time_and_the_order_stays():
    chance = np.random.default_rng(2)
    given = np.split(np.arange(90), np.sort(chance.choice(np.arange(1, 90), 11, replace=False)))
    for count in (3, 12, 13, 25, 90):
        slow = list(given)
        while len(slow) < count:
            largest = max(range(len(slow)), key=lambda batch: len(slow[batch]))
            slow[largest : largest + 1] = np.array_split(slow[largest], 2)
        found = _halve(given, count)
        assert [rows.tolist() for rows in found] == [rows.tolist() for rows in slow]
