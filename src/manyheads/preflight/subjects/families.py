"""Families of models, as the checks see them."""

from torch import nn

from manyheads.model.documents import DocumentModel
from manyheads.model.forecaster import Forecaster
from manyheads.model.labeller import Labeller
from manyheads.model.shapes import Shape
from manyheads.preflight.subjects.base import Subject
from manyheads.preflight.subjects.documents import OfDocuments
from manyheads.preflight.subjects.pairs import OfPairs
from manyheads.preflight.subjects.series import OfSeries
from manyheads.preflight.subjects.words import OfWords

FAMILIES: dict[type[nn.Module], type[Subject]] = {
    Shape: OfPairs,
    DocumentModel: OfDocuments,
    Forecaster: OfSeries,
    Labeller: OfWords,
}


def subject_of(model: nn.Module) -> Subject | None:
    """None for a model of no known family."""
    return next((kind(model) for family, kind in FAMILIES.items() if isinstance(model, family)), None)
