"""Which rows make a batch: as many of similar length as a budget of tokens holds.

The cost of a batch of pairs is rows x (longest source + longest target): its tokens, padding included, which is
what memory and time follow. No batch costs more than the budget.

Every epoch has the same number of batches, because Lightning counts them once: it would cut a longer epoch off, and
never validate in a shorter one. What chance gives is brought to that number: an epoch of fewer batches has its largest
ones halved, one of more is drawn again.
"""

import heapq
import math
from collections.abc import Callable, Iterator

import numpy as np
from torch.utils.data import DistributedSampler, Sampler

from manyheads.errors import UserError

Rows = list[np.ndarray]

SLACK = 1.01  # batches an epoch may have, over those of epoch 0: what chance adds is mostly below 1 %
DRAWS = 10  # then epoch 0's batches serve again, in another order


class TokenBatches(DistributedSampler):
    """Shuffled batches of one rank, for training: yields arrays of row numbers, the same for a seed and an epoch.

    All ranks have the same number of batches, those of one step are neighbours in length, and no row comes twice.
    Where the number of batches is no multiple of those of a step, what is left over sits out, other ones each epoch.

    A step of the optimizer takes `world * accumulate` batches, and which ones depends on that product alone: two ranks
    train what one does that accumulates the gradients of two batches.

    (epoch, first) is the place in the stream of batches: what comes next is batch `first` of `epoch`.

    lengths: (rows, k) tokens, such as those of source and target. budget: what a batch may cost. pool: rows sorted by
    length at once: more of them pad less, and leave less chance for unlike rows to meet. where: names a row for a
    message.
    Raises UserError where a single row costs more than the budget.
    """

    # Lightning puts a DistributedSampler of its own around any other sampler, and so would share the batches out twice.

    def __init__(
        self,
        lengths: np.ndarray,
        budget: int,
        pool: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        where: Callable[[int], str] = "row {}".format,
        accumulate: int = 1,
    ):
        super().__init__(lengths, num_replicas=world, rank=rank, seed=seed)
        _refuse_unaffordable(lengths, budget, where)
        self.first = 0
        self._lengths, self._budget, self._pool = lengths, budget, pool
        self._count = min(len(lengths), math.ceil(SLACK * len(self._draw(0, 0))))
        self._planned: tuple[int, Rows] = (-1, [])
        if self._count < world:
            raise UserError(
                f"{len(lengths):,} rows make {self._count} batches of {budget}, too few for {world} processes; lower "
                "data.batch_tokens (of series: data.batch) or trainer.devices."
            )
        # More than an epoch has: then the whole epoch is one step, as Lightning has it.
        self._accumulate = min(accumulate, self._count // world)

    def __len__(self) -> int:
        """Batches of this rank in an epoch, the same in every epoch."""
        return self._steps * self._accumulate

    @property
    def _steps(self) -> int:
        """Of the optimizer, in an epoch."""
        return self._count // (self.num_replicas * self._accumulate)

    def __iter__(self) -> Iterator[list[int]]:
        """What is left of the epoch."""
        return iter([rows.tolist() for rows in self._plan()[self.first :]])

    def set_epoch(self, epoch: int) -> None:
        """The beginning of another epoch; the place in the present one is kept. Lightning calls this at each epoch's
        start, also of an epoch that it resumes in the middle.
        """
        if epoch != self.epoch:
            self.epoch, self.first = epoch, 0

    @property
    def padding(self) -> float:
        """Share of padded cells in this rank's batches of the epoch."""
        plan = self._plan()
        return 1 - sum(self._lengths[rows].sum() for rows in plan) / sum(_cost(self._lengths[rows]) for rows in plan)

    def _plan(self) -> Rows:
        """This rank's batches of the epoch, in order."""
        if self._planned[0] != self.epoch:
            self._planned = self.epoch, self._share(sorted(self._batches(), key=self._size))
        return self._planned[1]

    def _share(self, batches: Rows) -> Rows:
        """The rank's share of batches in order of length; neighbours go to the ranks of one step."""
        chance, steps = np.random.default_rng((self.seed, self.epoch)), self._steps
        drawn = np.sort(chance.permutation(len(batches))[: len(self) * self.num_replicas])
        mine = drawn.reshape(steps, self._accumulate, self.num_replicas)[:, :, self.rank]
        return [batches[batch] for batch in mine[chance.permutation(steps)].ravel()]

    def _batches(self) -> Rows:
        """The epoch's batches of all ranks."""
        for epoch, draw in [(self.epoch, draw) for draw in range(DRAWS)] + [(0, 0)]:
            batches = self._draw(epoch, draw)
            if len(batches) <= self._count:
                break
        return _halve(batches, self._count)

    def _draw(self, epoch: int, draw: int) -> Rows:
        """Pools of rows drawn by chance, sorted by length and cut."""
        order = np.random.default_rng((self.seed, epoch, draw)).permutation(len(self._lengths))
        pools = np.split(order, range(self._pool, len(order), self._pool))
        sort = [pool[_by_length(self._lengths[pool])] for pool in pools]
        return [batch for pool in sort for batch in _cut(pool, self._lengths, self._budget)]

    def _size(self, rows: np.ndarray) -> tuple[int, ...]:
        return tuple(self._lengths[rows].max(0).tolist()[::-1])


class EveryRow(Sampler):
    """Batches for evaluation: every row exactly once over all ranks, longest first, so that memory runs out at once
    or never. Ranks may differ by one batch. A row that alone costs more than the budget is a batch of its own.

    Every rank has a batch: Lightning leaves the end of an evaluation out on one that has none, and the others would
    wait for it. Raises UserError where there are fewer rows than ranks.
    """

    def __init__(self, lengths: np.ndarray, budget: int, rank: int = 0, world: int = 1):
        if len(lengths) < world > 1:
            raise UserError(
                f"{len(lengths):,} rows cannot be shared out among {world} processes; lower trainer.devices, or bring "
                "more rows to evaluate."
            )
        batches = _cut(_by_length(lengths)[::-1], lengths, budget)
        self._batches = _halve(batches, world if world > 1 else 0)[rank::world]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter([rows.tolist() for rows in self._batches])


def _cost(lengths: np.ndarray) -> int:
    """(rows, k) -> padded tokens of all sides."""
    return len(lengths) * int(lengths.max(0).sum())


def _cut(order: np.ndarray, lengths: np.ndarray, budget: int) -> Rows:
    """Consecutive runs of `order`, each as long as the budget allows."""
    cuts, longest, begin = [], [0] * lengths.shape[1], 0
    for place, row in enumerate(lengths[order].tolist()):
        longest = list(map(max, longest, row))
        if place > begin and (place + 1 - begin) * sum(longest) > budget:
            cuts.append(place)
            begin, longest = place, row
    return np.split(order, cuts) if len(order) else []


def _by_length(lengths: np.ndarray) -> np.ndarray:
    """Order by target, and by source within a target, up and down in turn: neighbours stay alike at every turn, which
    pads a third less than always starting again with the shortest source.
    """
    last = lengths[:, -1]
    return np.lexsort((np.where(last % 2, 1, -1) * lengths[:, 0], last))


def _halve(batches: Rows, count: int) -> Rows:
    """The same rows in `count` batches: those of most rows are halved. `count` is at most the number of rows."""
    parts = {(place,): rows for place, rows in enumerate(batches)}  # halves of (7,) are (7, 0) and (7, 1)
    largest = [(-len(rows), place) for place, rows in parts.items()]
    heapq.heapify(largest)
    while len(parts) < count:
        _, place = heapq.heappop(largest)
        for half, rows in enumerate(np.array_split(parts.pop(place), 2)):
            parts[*place, half] = rows
            heapq.heappush(largest, (-len(rows), (*place, half)))
    return [parts[place] for place in sorted(parts)]


def _refuse_unaffordable(lengths: np.ndarray, budget: int, where: Callable[[int], str]) -> None:
    costs = lengths.sum(1)
    if len(costs) and costs.max() > budget:
        raise UserError(
            f"{where(int(costs.argmax()))} alone is {costs.max():,} tokens on both sides, more than "
            f"data.batch_tokens={budget}; raise data.batch_tokens, or leave long rows out with data.longest and "
            "data.on_bad_row=skip."
        )
