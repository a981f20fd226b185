"""Scores against loops over single values, however they were cut into batches and shared out over ranks."""

from dataclasses import dataclass
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from manyheads.task import series_scores
from manyheads.task.series_scores import SUMS, Tally, loss_of, pinball, scores
from manyheads.training import collectives

QUANTILES = (0.1, 0.5, 0.8)
N, H, C = 11, 4, 3


@dataclass
class Part:
    index: torch.Tensor
    series: torch.Tensor
    future: torch.Tensor
    future_seen: torch.Tensor
    forecast: torch.Tensor

    def rows(self, which) -> "Part":
        return Part(*(value[which] for value in vars(self).values()))


class Scaling:
    """Two series; of the last channel of the second one nothing is known of a season."""

    mean = torch.tensor([[1.0, -2.0, 30.0], [0.0, 5.0, 9.0]], dtype=torch.float64)
    std = torch.tensor([[2.0, 0.5, 7.0], [1.0, 3.0, 1.0]], dtype=torch.float64)
    error = np.array([[0.7, 0.2, 2.0], [1.1, 0.0, np.nan]])

    def undo(self, values, series):
        shape = (len(series), 1, C, *(1 for _ in values.shape[3:]))
        return values * self.std[series].reshape(shape) + self.mean[series].reshape(shape)


@pytest.fixture
def part():
    seen = torch.rand(N, H, C) > 0.3
    truth = torch.randn(N, H, C, dtype=torch.float64) * seen
    forecast = torch.randn(N, H, C, 3, dtype=torch.float64).sort(-1).values
    return Part(torch.randperm(N), torch.randint(2, (N,)), truth, seen, forecast)


def tally(part, quantiles=QUANTILES, sizes=None) -> Tally:
    made = Tally(H, quantiles, loss_of("mse", 1.0, quantiles), torch.device("cpu"))
    for rows in torch.arange(len(part.index)).split(list(sizes or (len(part.index),))):
        some = part.rows(rows)
        made.add(some, some.forecast, Scaling())
    return made


def slow(part, quantiles=QUANTILES) -> dict[str, float]:
    """The definitions, a value at a time."""
    found = {name: [] for name in (*series_scores.SCORES, "coverage")}
    for n, h, c in np.argwhere(part.future_seen.numpy()):
        series = part.series[n]
        mean, std = float(Scaling.mean[series, c]), float(Scaling.std[series, c])
        truth, rows = float(part.future[n, h, c]), part.forecast[n, h, c].tolist()
        point = rows[1] if len(rows) > 1 else rows[0]
        real, reals = truth * std + mean, [row * std + mean for row in rows]
        error = abs((point - truth) * std)
        levels = quantiles or (0.5,)
        pin = [max(q * (real - f), (q - 1) * (real - f)) for q, f in zip(levels, reals, strict=True)]
        unscaled = [max(q * (truth - f), (q - 1) * (truth - f)) for q, f in zip(levels, rows, strict=True)]
        found["loss"].append(np.mean(unscaled) if quantiles else (point - truth) ** 2)
        found["mse"].append((point - truth) ** 2)
        found["mae"].append(abs(point - truth))
        found["smape"].append(200 * error / (abs(real) + abs(point * std + mean)))
        found["crps"].append(2 * np.mean(pin))
        found["coverage"].append(reals[0] <= real <= reals[-1])
        if Scaling.error[series, c] > 0:
            found["mase"].append(error / Scaling.error[series, c])
    return {name: float(np.mean(values)) for name, values in found.items()}


@pytest.mark.parametrize("sizes", [(N,), (1,) * N, (4, 5, 2)])
def test_quantiles(part, sizes):
    assert tally(part, sizes=sizes).scores() == pytest.approx(slow(part))


def test_points(part):
    part.forecast = part.forecast[..., :1]
    expected = slow(part, ())
    del expected["coverage"]
    found = tally(part, ()).scores()
    assert found == pytest.approx(expected)
    assert tuple(found) == scores(())


def test_crps_of_a_point_is_its_real_absolute_error(part):
    part.forecast = part.forecast[..., :1]
    real = [Scaling().undo(x, part.series) for x in (part.forecast[..., 0], part.future)]
    expected = (real[0] - real[1]).abs()[part.future_seen].mean().item()
    assert tally(part, ()).scores()["crps"] == pytest.approx(expected)


def test_steps_add_up_to_the_whole(part):
    made = tally(part)
    seen = made.sums[SUMS.index("seen")]
    steps = torch.tensor(made.by_step()["mse"], dtype=torch.float64)
    assert made.scores()["mse"] == pytest.approx(((steps * seen).sum() / seen.sum()).item())
    error = (part.forecast[:, 2, :, 1] - part.future[:, 2]).square()[part.future_seen[:, 2]].mean()
    assert steps[2].item() == pytest.approx(error.item())


def test_windows_are_ranked_by_their_own_error(part):
    made = tally(part, sizes=(4, 5, 2))
    for at, row in enumerate(part.index.tolist()):
        error = (part.forecast[at, ..., 1] - part.future[at]).square()[part.future_seen[at]].mean().item()
        assert made.windows[row] == pytest.approx(error)
    errors = [made.windows[row] for row in made.ranked()]
    assert all(low <= high for low, high in pairwise(errors))


def test_what_stands_where_nothing_is_seen_counts_for_nothing(part):
    found = tally(part).scores()
    part.future = torch.where(part.future_seen, part.future, 1e6)
    assert tally(part).scores() == pytest.approx(found)


def test_without_a_single_value_there_are_no_scores(part):
    part.future_seen[:] = False
    assert tally(part).scores() == {}


def test_ranks_are_added(part, monkeypatch):
    halves = [tally(part.rows(rows)) for rows in (slice(0, 6), slice(6, N))]

    def all_reduce(sums):
        sums += halves[1].sums

    def all_gather_object(parts, mine):
        parts[:] = [mine, halves[1].windows]

    fake = {"all_reduce": all_reduce, "all_gather_object": all_gather_object, "get_world_size": lambda: 2}
    fake |= {"is_available": lambda: True, "is_initialized": lambda: True}
    monkeypatch.setattr(collectives, "dist", SimpleNamespace(**fake))
    assert halves[0].gather().scores() == pytest.approx(slow(part))
    assert sorted(halves[0].windows) == list(range(N))


def test_pinball_is_half_the_absolute_error_at_the_median():
    forecast, truth = torch.randn(5, 2, 1, 1), torch.randn(5, 2, 1)
    torch.testing.assert_close(pinball(forecast, truth, (0.5,)), (forecast.squeeze(-1) - truth).abs() / 2)


def test_the_best_constant_under_pinball_is_the_quantile():
    truth = torch.arange(101.0).view(-1, 1, 1)
    losses = [pinball(torch.full((101, 1, 1, 1), f), truth, (0.8,)).mean().item() for f in torch.arange(101.0)]
    assert int(np.argmin(losses)) == 80


@pytest.mark.parametrize(
    ("kind", "expected"), [("mse", [4.0, 0.25]), ("mae", [2.0, 0.5]), ("huber", [1.5 * 2 - 1.125, 0.125])]
)
def test_losses_of_points(kind, expected):
    forecast, truth = torch.tensor([[[[2.0]], [[0.0]]]]), torch.tensor([[[0.0], [0.5]]])
    assert loss_of(kind, 1.5, ())(forecast, truth).flatten().tolist() == pytest.approx(expected)
