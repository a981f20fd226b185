"""Which shape of model goes with which family of data, and what is built around it: the one table of both."""

from dataclasses import dataclass

from torch import nn

from manyheads.data.base import DataSpec
from manyheads.errors import UserError
from manyheads.model.documents import DocumentModel
from manyheads.model.forecaster import Forecaster
from manyheads.model.labeller import Labeller
from manyheads.model.layers import Factory
from manyheads.model.shapes import DecoderOnly, EncoderDecoder, EncoderOnly, Shape


@dataclass(frozen=True)
class Family:
    """around: what is built around a shape, called with its factory and the spec; None: nothing.

    unfit: the shapes that cannot do it, each with the reason and what can.
    """

    around: type[nn.Module] | None
    unfit: dict[type[Shape], str]


FAMILIES = {
    "translation": Family(
        None,
        {EncoderOnly: "cannot write, so it cannot translate: take model=encoder_decoder or model=decoder_only"},
    ),
    "language_model": Family(
        None,
        {
            EncoderOnly: "sees the words that it should foretell: take model=decoder_only",
            EncoderDecoder: "needs a source, and a text has none: take model=decoder_only",
        },
    ),
    "clinical_long": Family(DocumentModel, {}),
    "timeseries": Family(Forecaster, {}),
    "formal_language": Family(Labeller, {}),
}

NAMES = {EncoderOnly: "encoder_only", DecoderOnly: "decoder_only", EncoderDecoder: "encoder_decoder"}


def pair(kind: type[Shape], shape: Factory, spec: DataSpec) -> nn.Module:
    """The model for data of this `spec`, of a shape that `shape` makes; a UserError where its kind does not fit."""
    family = FAMILIES[spec.kind]
    if kind in family.unfit:
        raise UserError(f"model={NAMES[kind]} {family.unfit[kind]} (data={spec.kind}).")
    return shape(spec=spec) if family.around is None else family.around(shape, spec)
