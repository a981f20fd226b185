import pytest
import torch

from manyheads.attention.mask import Mask
from manyheads.attention.patterns.window import Window
from manyheads.errors import UserError

CPU = torch.device("cpu")


def seen(mask: Mask, row: int = 0) -> list[list[int]]:
    return [line.nonzero().flatten().tolist() for line in mask.dense(1, CPU)[row, 0]]


def test_width_counts_each_side_and_the_query_itself():
    assert seen(Mask(6, 6, pattern=Window(1, 1, 0))) == [[0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5], [4, 5]]
    assert seen(Mask(4, 4, causal=True, pattern=Window(1, 1, 0))) == [[0], [0, 1], [1, 2], [2, 3]]
    assert seen(Mask(3, 3, pattern=Window(0, 1, 0))) == [[0], [1], [2]]


def test_dilation_sees_further_and_skips():
    assert seen(Mask(7, 7, pattern=Window(1, 3, 0)))[3] == [0, 3, 6]
    assert seen(Mask(7, 7, causal=True, pattern=Window(2, 2, 0)))[5] == [1, 3, 5]


def test_global_tokens_see_and_are_seen():
    rows = seen(Mask(6, 6, pattern=Window(1, 1, 1)))
    assert rows[0] == [0, 1, 2, 3, 4, 5]
    assert rows[4] == [0, 3, 4, 5]


def test_global_tokens_do_not_see_the_future():
    rows = seen(Mask(6, 6, causal=True, pattern=Window(1, 1, 2)))
    assert rows[:2] == [[0], [0, 1]]
    assert rows[5] == [0, 1, 4, 5]


def test_lengths_cut_and_cached_queries_stand_at_the_end():
    assert seen(Mask(5, 5, lengths=torch.tensor([3]), pattern=Window(1, 1, 0)))[2] == [1, 2]
    assert seen(Mask(1, 9, causal=True, pattern=Window(2, 1, 1))) == [[0, 6, 7, 8]]


@pytest.mark.parametrize(("key", "value"), [("width", -1), ("dilation", 0), ("globals", -1)])
def test_impossible_sizes_are_refused(key, value):
    sizes = {"width": 1, "dilation": 1, "globals": 0}
    with pytest.raises(UserError, match=rf"attention\.pattern\.{key}={value} must be"):
        Window(**(sizes | {key: value}))
