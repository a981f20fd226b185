"""Forecasts by every shape: what they may look at, what they may not, and decoding against plain full passes."""

from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from test_recurrent import ATTENTIONS
from tiny import BLOCKS, POSITIONS, grown, parts

from manyheads.data.base import SeriesSpec
from manyheads.errors import UserError
from manyheads.model.forecaster import Forecaster
from manyheads.model.shapes import DecoderOnly, EncoderDecoder, EncoderOnly
from manyheads.model.ways import middle

SHAPES = {
    "encoder_only": partial(EncoderOnly, layers=2),
    "decoder_only": partial(DecoderOnly, tie=True, layers=2),
    "encoder_decoder": partial(EncoderDecoder, tie=True, encoder_layers=2, decoder_layers=2),
}
HISTORY, HORIZON = 21, 10
"""Neither is a multiple of the patch."""

shapes = pytest.mark.parametrize("shape", SHAPES)


def spec(**changes) -> SeriesSpec:
    sizes = {"longest": 20, "channels": 3, "history": HISTORY, "horizon": HORIZON, "known": 2, "patch": 4, "stride": 2}
    return SeriesSpec(kind="timeseries", **{**sizes, "quantiles": (0.1, 0.5, 0.9), **changes})


def model(shape: str, of: SeriesSpec | None = None, *kind, **changes) -> Forecaster:
    return grown(Forecaster(partial(SHAPES[shape], **(parts(*kind) | changes)), of or spec()))


@dataclass(frozen=True)
class Windows:
    history: torch.Tensor
    future: torch.Tensor
    history_seen: torch.Tensor
    future_seen: torch.Tensor
    history_known: torch.Tensor
    future_known: torch.Tensor

    def rows(self, which) -> "Windows":
        return Windows(*(getattr(self, name)[which] for name in self.__dataclass_fields__))


def windows(b: int = 4, known: int = 2, channels: int = 3) -> Windows:
    def some(steps, width):
        return torch.randn(b, steps, width, dtype=torch.float64)

    seen = [torch.rand(b, steps, channels) > 0.2 for steps in (HISTORY, HORIZON)]
    values = [(2 + 3 * some(side.size(1), channels)) * side for side in seen]
    return Windows(*values, *seen, some(HISTORY, known), some(HORIZON, known))


@pytest.fixture(autouse=True)
def _without_gradients(request):
    if "gradients" in request.fixturenames:
        yield
    else:
        with torch.inference_mode():
            yield


@pytest.fixture
def gradients():
    """Asked for by tests that need them."""


@shapes
@pytest.mark.parametrize(("quantiles", "width"), [((), 1), ((0.5,), 1), ((0.1, 0.5, 0.9), 3)])
@pytest.mark.parametrize("known", [0, 2])
def test_a_number_for_every_step_channel_and_quantile(shape, quantiles, width, known):
    found = model(shape, spec(quantiles=quantiles, known=known))(windows(known=known))
    assert found.shape == (4, HORIZON, 3, width)
    assert found.isfinite().all()


@shapes
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("block", BLOCKS)
def test_every_position_and_block(shape, position, block):
    assert model(shape, None, position, block)(windows()).isfinite().all()


@shapes
def test_quantiles_rise(shape):
    made = model(shape)
    assert (made(windows()).diff(dim=-1) >= 0).all()
    assert (made.teach(windows())[0].diff(dim=-1) >= 0).all()


@shapes
def test_no_look_at_the_future(shape):
    made, batch = model(shape), windows()
    other = replace(batch, future=batch.future + 7, future_seen=~batch.future_seen)
    assert torch.equal(made(batch), made(other))


@shapes
def test_channels_do_not_see_each_other(shape):
    made, batch = model(shape), windows()
    noise = torch.zeros_like(batch.history)
    noise[..., 1] = torch.randn(4, HISTORY)
    moved = (made(batch) - made(replace(batch, history=batch.history + noise))).abs().amax((0, 1, 3))
    assert moved[1] > 1e-3
    assert moved[0] == moved[2] == 0


@shapes
def test_a_batch_is_its_windows_one_by_one(shape):
    made, batch = model(shape), windows()
    alone = torch.cat([made(batch.rows(slice(b, b + 1))) for b in range(4)])
    torch.testing.assert_close(made(batch), alone)


@shapes
def test_what_stands_where_a_value_is_missing_does_not_matter(shape):
    made, batch = model(shape), windows()
    other = replace(batch, history=torch.where(batch.history_seen, batch.history, 1e3))
    assert torch.equal(made(batch), made(other))


@shapes
def test_a_missing_value_is_not_the_mean_of_the_window(shape):
    """Both are 0 once the window is normalised: only the mask tells them apart."""
    made, batch = model(shape), windows()
    level = made.revin.level(batch.history, batch.history_seen)
    steps = made._steps(batch.history, batch.history_seen, batch.history_known, level)
    found, other = (
        made.way(made.body, replace(steps, missing=missing), batch.future_known)
        for missing in (steps.missing, torch.zeros_like(steps.missing))
    )
    assert (steps.missing == ~batch.history_seen).all()
    assert (found - other).abs().amax() > 1e-3


@shapes
def test_forecasts_scale_with_their_history(shape):
    made, batch = model(shape), windows()
    moved = torch.where(batch.history_seen, 50 * batch.history - 300, 0)
    found, other = made(batch), made(replace(batch, history=moved))
    torch.testing.assert_close(other, 50 * found - 300, rtol=1e-4, atol=1e-2)


@shapes
@pytest.mark.parametrize("side", ["history_known", "future_known"])
def test_what_is_known_is_used(shape, side):
    made, batch = model(shape), windows()
    other = replace(batch, **{side: getattr(batch, side) + torch.randn(4, 1, 2)})
    assert (made(batch) - made(other)).abs().amax() > 1e-3


def test_what_is_known_of_a_step_adds_to_that_step_of_each_channel():
    made, batch = model("encoder_only", spec(quantiles=())), windows()
    made.revin.log_scale.data.zero_()
    known = batch.future_known.clone()
    known[:, 5, 1] += 1
    moved = made(replace(batch, future_known=known)) - made(batch)
    weight = made.way.effect.weight[:, 1]
    level = made.revin.level(batch.history, batch.history_seen)
    torch.testing.assert_close(moved[:, 5, :, 0], weight * level.std[:, 0])
    assert moved[:, [step for step in range(HORIZON) if step != 5]].abs().max() == 0


@shapes
def test_all_parameters_learn(shape, gradients):
    made = Forecaster(partial(SHAPES[shape], **parts()), spec())
    batch = windows()
    batch = Windows(*(x.float() if x.is_floating_point() else x for x in vars(batch).values()))
    forecast, truth, seen = made.teach(batch)
    ((forecast - truth.unsqueeze(-1)).square() * seen.unsqueeze(-1)).sum().backward()
    assert [name for name, p in made.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("shape", ["encoder_only", "encoder_decoder"])
def test_without_its_body_it_is_a_linear_model(shape):
    """The straight way alone: NLinear, on a normalised window."""
    made, batch = model(shape, spec(quantiles=(), known=0)), windows(known=0)
    made.way.head.weight.zero_()
    made.way.head.bias.zero_()
    level = made.revin.level(batch.history, batch.history_seen)
    normal = made.revin.normal(batch.history, batch.history_seen, level)
    last = normal[:, -1:]
    plain = torch.einsum("blc,hl->bhc", normal - last, made.way.straight.weight) + last
    torch.testing.assert_close(made(batch), made.revin.restored(plain.unsqueeze(-1), level))


@pytest.mark.parametrize("shape", ["encoder_only", "encoder_decoder"])
def test_what_reads_at_once_is_taught_its_forecast(shape):
    made, batch = model(shape), windows()
    forecast, truth, seen = made.teach(batch)
    assert torch.equal(forecast, made(batch))
    assert truth is batch.future
    assert seen is batch.future_seen


def rolled(made: Forecaster, batch: Windows, size: SeriesSpec) -> torch.Tensor:
    """Patch after patch by full teaching passes over what has been written so far."""
    written = torch.zeros(len(batch.history), 0, 3, max(1, len(size.quantiles)), dtype=torch.float64)
    while written.size(1) < size.horizon:
        read = written[..., middle(size.quantiles)]
        future, seen = torch.zeros_like(batch.future), torch.zeros_like(batch.future_seen)
        future[:, : read.size(1)], seen[:, : read.size(1)] = read, True
        forecast = made.teach(replace(batch, future=future, future_seen=seen))[0]
        first = forecast.size(1) - (size.horizon + -size.horizon % size.patch) + read.size(1)
        written = torch.cat((written, forecast[:, first : first + size.patch]), dim=1)
    return written[:, : size.horizon]


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("changes", [{}, {"quantiles": ()}, {"known": 0}, {"patch": 5}, {"patch": 21}, {"patch": 1}])
def test_remembering_decodes_what_full_passes_do(position, changes):
    size = spec(**{"stride": 1, **changes})
    made, batch = model("decoder_only", size, position), windows(known=size.known)
    torch.testing.assert_close(made(batch), rolled(made, batch, size))


@pytest.mark.parametrize("name", ATTENTIONS)
def test_attentions_that_keep_sums_decode_what_full_passes_do(name):
    made, batch = model("decoder_only", None, attention=partial(ATTENTIONS[name], kv_heads=2)), windows()
    torch.testing.assert_close(made(batch), rolled(made, batch, spec()))


def test_a_decoder_is_taught_every_patch_but_the_first():
    """21 steps are filled up in front to 24, 10 behind to 12; the first patch of 4 is only read."""
    made, batch = model("decoder_only"), windows()
    forecast, truth, seen = made.teach(batch)
    assert forecast.shape == (4, 32, 3, 3)
    torch.testing.assert_close(truth[:, :-2], torch.cat((batch.history[:, 1:], batch.future), 1))
    assert torch.equal(seen[:, :-2], torch.cat((batch.history_seen[:, 1:], batch.future_seen), 1))
    assert not seen[:, -2:].any()


def test_a_decoder_being_taught_sees_no_step_that_it_forecasts():
    made, batch = model("decoder_only"), windows()
    taught = made.teach(batch)[0]
    for step in range(HORIZON):
        future, seen = batch.future.clone(), batch.future_seen.clone()
        future[:, step:] += 3
        seen[:, step:] ^= True
        other = made.teach(replace(batch, future=future, future_seen=seen))[0]
        reached = 20 + 4 * (step // 4 + 1)
        torch.testing.assert_close(other[:, :reached], taught[:, :reached], rtol=0, atol=0)
        if reached < taught.size(1):
            assert not torch.allclose(other[:, reached : reached + 4], taught[:, reached : reached + 4])


def test_the_first_patch_of_a_forecast_is_what_is_taught():
    made, batch = model("decoder_only"), windows()
    torch.testing.assert_close(made(batch)[:, :4], made.teach(batch)[0][:, 20:24])


@shapes
def test_known_columns_of_the_past_and_future_may_be_any_dtype(shape):
    made, batch = model(shape), windows()
    single = replace(batch, history_known=batch.history_known.float(), future_known=batch.future_known.float())
    assert made(single).isfinite().all()


@shapes
def test_runs_under_autocast(shape):
    made, batch = model(shape).float(), windows()
    batch = Windows(*(x.float() if x.is_floating_point() else x for x in vars(batch).values()))
    with torch.autocast("cpu", torch.bfloat16):
        found = made(batch)
    assert found.dtype == torch.float32
    plain = made(batch)
    # These weights are far from their start: bf16 keeps three digits of each, and few of sums that cancel.
    assert (found - plain).square().mean() < 0.01 * plain.square().mean()


@pytest.mark.parametrize(("quantiles", "at"), [((), 0), ((0.5,), 0), ((0.1, 0.5, 0.9), 1), ((0.2, 0.4, 0.9), 1)])
def test_the_quantile_nearest_to_the_median_stands_for_a_point(quantiles, at):
    assert middle(quantiles) == at


@shapes
def test_a_patch_longer_than_the_history_is_refused(shape):
    with pytest.raises(UserError, match=r"data\.patch=30 is longer than data\.history=21"):
        model(shape, spec(patch=30))
