"""Numbers of rows of weights, against loops and known answers."""

import math

import numpy as np
import torch
from scipy.spatial.distance import jensenshannon

from manyheads.analysis.measures import disagreement, distance, effective, entropy, shares

ROWS = torch.tensor([[[0.5, 0.5, 0, 0], [0, 0, 1, 0]], [[0.25] * 4, [0.25] * 4], [[0, 0, 0, 2.0], [0, 0, 0, 0]]])


def test_shares_sum_to_one_or_to_nothing():
    assert shares(ROWS).sum(-1).tolist() == [[1, 1], [1, 1], [1, 0]]


def test_entropy_is_that_of_the_definition():
    expected = [math.log(2) / 2, math.log(4), 0.0]
    torch.testing.assert_close(entropy(ROWS), torch.tensor(expected).double())
    torch.testing.assert_close(effective(ROWS), torch.tensor([1.5, 4.0, 1.0]).double())


def test_distance_counts_rows_that_read():
    found = distance(ROWS, torch.tensor([1, 3]))
    torch.testing.assert_close(found, torch.tensor([(0.5 + 1) / 2, (1 + 1.5) / 2, 2.0]).double())


def test_a_head_that_reads_nothing_has_no_number():
    nothing = torch.zeros(2, 3, 4)
    for found in (entropy(nothing), effective(nothing), distance(nothing, torch.arange(3)), disagreement(nothing)):
        assert found.isnan().all()


def test_disagreement_is_scipys():
    weights = torch.rand(3, 5, 7).double() ** 4
    found = disagreement(weights).numpy()
    for a in range(3):
        for b in range(3):
            rows = [jensenshannon(weights[a, r].numpy(), weights[b, r].numpy(), base=2) ** 2 for r in range(5)]
            np.testing.assert_allclose(found[a, b], np.mean(rows), atol=1e-12)


def test_heads_with_nothing_in_common_are_one_bit_apart():
    found = disagreement(torch.eye(3).view(3, 1, 3))
    torch.testing.assert_close(found, 1 - torch.eye(3).double())
