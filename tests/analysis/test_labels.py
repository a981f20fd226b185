"""What stands at the edges of maps of series: the first step of each patch, wherever a shape begins to cut."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from tiny import parts

from manyheads.analysis.capture import captured
from manyheads.analysis.labels import Labels
from manyheads.data.base import SeriesSpec
from manyheads.model.forecaster import Forecaster
from manyheads.model.shapes import DecoderOnly, EncoderDecoder, EncoderOnly

SPEC = SeriesSpec(
    kind="timeseries", longest=12, channels=1, history=22, horizon=11, known=0, patch=4, stride=2, quantiles=()
)
SHAPES = {
    "encoder_only": partial(EncoderOnly, layers=1),
    "decoder_only": partial(DecoderOnly, layers=1, tie=True),
    "encoder_decoder": partial(EncoderDecoder, encoder_layers=1, decoder_layers=1, tie=True),
}
# From the last step t of the history backwards: patches that overlap by half begin at t−21, t−19, …, t−1; those side by
# side end at t, the first filled up in front; those of the horizon begin at t+1, t+5, t+9.
OVERLAPPING = [f"t−{step}" for step in range(21, 0, -2)]
SIDE_BY_SIDE = ["t−23", "t−19", "t−15", "t−11", "t−7", "t−3"]


def windows() -> SimpleNamespace:
    values = {"history": torch.randn(1, 22, 1), "future": torch.randn(1, 11, 1)}
    seen = {f"{name}_seen": torch.ones_like(x, dtype=torch.bool) for name, x in values.items()}
    known = {f"{name}_known": torch.zeros(1, x.size(1), 0) for name, x in values.items()}
    return SimpleNamespace(**values, **seen, **known)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("encoder_only", {"encoder.0": (OVERLAPPING, OVERLAPPING)}),
        ("decoder_only", {"decoder.0": (SIDE_BY_SIDE, SIDE_BY_SIDE)}),
        (
            "encoder_decoder",
            {
                "encoder.0": (OVERLAPPING, OVERLAPPING),
                "decoder.0": (["t+1", "t+5", "t+9"],) * 2,
                "decoder.0.cross": (["t+1", "t+5", "t+9"], OVERLAPPING),
            },
        ),
    ],
)
def test_patches_are_named_by_their_first_step(shape, expected):
    model = Forecaster(partial(SHAPES[shape], **parts()), SPEC).eval()
    with torch.no_grad(), captured(model, 1) as reads:
        model(windows())
    labels = Labels(model, SPEC, None)
    assert {name: labels(of_rows[0]) for name, of_rows in reads.items()} == expected
    assert {name: labels.on_axes(of_rows[0]) for name, of_rows in reads.items()} == expected
