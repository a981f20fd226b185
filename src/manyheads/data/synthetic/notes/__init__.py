"""Embedded long clinical notes, written by a seeded generator: no patient, no download, no licence."""

from manyheads.data.synthetic.notes.corpus import notes
from manyheads.data.synthetic.notes.findings import LABELS

__all__ = ["LABELS", "notes"]
