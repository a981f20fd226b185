"""What is asked of a finished run."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Predict:
    """Gives a run's model new input: sentences to translate, documents to label, series to forecast, texts to go on."""

    run: Path = field(metadata={"help": "a run's folder"})
    input: str = field(
        metadata={
            "help": "translation, language_model, formal_language: a text file, one input a line (- reads what is "
            "typed or piped); clinical_long: a table of documents or a folder of text files; "
            "timeseries: a table like the run's own"
        }
    )
    output: Path | None = field(default=None, metadata={"help": "where the results go; null: the screen"})
    checkpoint: Literal["best", "last"] = field(default="best", metadata={"help": "which weights"})
    search: Literal["beam", "greedy", "sample"] | None = field(default=None, metadata={"help": "null: as the run did"})
    width: int | None = field(default=None, metadata={"help": "hypotheses of a beam; null: as the run did"})
    tokens: int = field(default=60, metadata={"help": "language_model: the most that is written after a line"})
    batch: int = field(default=64, metadata={"help": "sentences at once"})
    attention_maps: bool = field(
        default=False, metadata={"help": "true: also a page on which one sees where each head looks (HTML)"}
    )
    device: Literal["auto", "cpu", "cuda"] = field(default="auto", metadata={"help": "where it computes"})
