import numpy as np
import pytest
import torch

from manyheads.data.batch import PairRows, Ragged

SOURCE = [[5, 6, 2], [2], [9, 9, 9, 9, 2]]
TARGET = [[1, 7, 2], [1, 8, 8, 2], [1, 2]]


@pytest.fixture
def rows():
    return PairRows(Ragged(SOURCE), Ragged(TARGET))


def test_a_batch_is_its_rows_padded_on_the_right(rows):
    batch = rows[[2, 0]]
    assert batch.source.tolist() == [[9, 9, 9, 9, 2], [5, 6, 2, 0, 0]]
    assert batch.target.tolist() == [[1, 2, 0], [1, 7, 2]]
    assert batch.source_lengths.tolist() == [5, 3]
    assert batch.target_lengths.tolist() == [2, 3]
    assert batch.index.tolist() == [2, 0]
    assert batch.source.dtype == batch.target.dtype == torch.long


def test_real_tokens_and_cells_are_counted(rows):
    batch = rows[[2, 0]]
    assert (batch.tokens, batch.cells, len(batch)) == (13, 16, 2)
    assert isinstance(batch.tokens, int)


def test_one_row_and_random_rows_come_back_whole(rows):
    assert rows[1].source.tolist() == [[2]]
    chance = np.random.default_rng(0)
    lists = [chance.integers(3, 99, size).tolist() for size in chance.integers(1, 20, 50)]
    batch = PairRows(Ragged(lists), Ragged(lists[::-1]))[np.arange(50)]
    for row, ids in enumerate(lists):
        assert batch.source[row, : len(ids)].tolist() == ids
        assert not batch.source[row, len(ids) :].any()


def test_to_moves_every_tensor_and_keeps_the_count(rows):
    moved = rows[[0, 1]].to("meta")
    tensors = (moved.source, moved.source_lengths, moved.target, moved.target_lengths, moved.index)
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert moved.tokens == 11


def test_changing_a_batch_does_not_change_the_split(rows):
    rows[[0, 1, 2]].source.zero_()
    assert rows[[0]].source.tolist() == [[5, 6, 2]]
