"""Formal languages: a label for every prefix of a word, scored by how long the words are."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from manyheads import atomic
from manyheads.baseline.prefixes import guessed
from manyheads.data.base import WordSpec
from manyheads.task.answers import Words
from manyheads.task.base import Result, Task
from manyheads.task.prefix_scores import NAMES, Verdict, scores
from manyheads.training.collectives import gathered

SHOWN = 8
"""Words of each part of the test whose labels are written to predictions.jsonl."""


class FormalLanguageTask(Task):
    """Cross-entropy of each prefix's label.

    accuracy: of all prefixes. recognised: of whole words, whether they are words of the language, as the last label
    says it; those that are and those that are not count alike, so that guessing is 0.5.
    """

    metrics = ("val/loss", *(f"val/{name}" for name in NAMES))

    def __init__(
        self,
        model: nn.Module,
        spec: WordSpec,
        optimizer: Callable[..., Optimizer],
        schedule: Callable[..., LRScheduler],
        monitor: str,
        mode: str,
        baselines: bool,
    ) -> None:
        super().__init__(model, spec, optimizer, schedule, monitor, mode)
        self.baselines = baselines
        self.baseline: dict[str, float] = {}
        self.signatures: dict[str, str] = {}
        self._verdicts: dict[str, dict[int, Verdict]] = {}

    def answer(self, model: nn.Module, batch: Any) -> Words:
        real = torch.arange(batch.ids.size(1), device=batch.ids.device) < batch.lengths.unsqueeze(1)
        return Words(model(batch.ids, batch.lengths)[real], batch.labels[real], model.head)

    def step(self, batch: Any) -> Result:
        answer = self.answer(self.model, batch)
        scored = answer.head.loss(answer.states, answer.words, 0.0)
        means = {"accuracy": scored.correct / scored.count}
        return Result(scored.loss / scored.count, scored.count, means, answer=answer)

    def validation_step(self, batch: Any, index: int) -> None:
        self._note("val", batch)

    def on_validation_epoch_end(self) -> None:
        self.report("val")
        found = gathered(self._verdicts.pop("val", {}))
        if found:
            language, words = self.trainer.datamodule.language, self.trainer.datamodule.words("val")
            self._log("val", scores(language, [words[row] for row in found], list(found.values())))

    def test_step(self, batch: Any, index: int, dataloader_idx: int = 0) -> None:
        self._note("test", batch)

    def on_test_epoch_end(self) -> None:
        self.report("test")
        found = gathered(self._verdicts.pop("test", {}))
        if not found:
            return
        data = self.trainer.datamodule
        words = [data.words("test")[row] for row in found]
        self._log("test", by_length(data, words, list(found.values())))
        if self.trainer.is_global_zero:
            self._compare(data, words)
            self._write(data, words, list(found.values()))

    def _note(self, split: str, batch: Any) -> None:
        result = self.step(batch)
        self.count(split, result)
        said = result.answer.head(result.answer.states).argmax(1).cpu().split(batch.lengths.tolist())
        rows = zip(batch.index.tolist(), said, strict=True)
        self._verdicts.setdefault(split, {}).update({row: labels.tolist() for row, labels in rows})

    def _log(self, split: str, found: dict[str, float]) -> None:
        self.log_dict({f"{split}/{name}": _float(value) for name, value in found.items()}, rank_zero_only=True)

    def _compare(self, data: Any, words: list[str]) -> None:
        """What is known without a model, on the very same words."""
        if not self.baselines:
            return
        for name, found in baselines(data, words).items():
            self.baseline |= {f"test/{name}/{key}": value for key, value in found.items()}

    def _write(self, data: Any, words: list[str], said: list[Verdict]) -> None:
        rows, names = [], data.language.labels
        for part, lengths in data.bins.items():
            of_part = [pair for pair in zip(words, said, strict=True) if len(pair[0]) in lengths]
            for word, labels in of_part[:SHOWN]:
                true = data.language.mark(word)
                wrong = [at for at, (one, other) in enumerate(zip(true, labels, strict=True)) if one != other]
                rows.append({"part": part, "word": word, "labels": [names[label] for label in labels], "wrong": wrong})
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        atomic.write_text(Path(self.trainer.default_root_dir) / "predictions.jsonl", "".join(lines))


def baselines(data: Any, words: list[str]) -> dict[str, dict[str, float]]:
    """Scores of those who have counted the training's labels, on the same words."""
    train = data.words("train")
    said = guessed(train, [data.language.mark(word) for word in train], words)
    return {name: by_length(data, words, labels) for name, labels in said.items()}


def by_length(data: Any, words: list[str], said: list[Verdict]) -> dict[str, float]:
    """Scores of all words, and of each part of the test, such as `recognised_2x`."""
    found = scores(data.language, words, said)
    for part, lengths in data.bins.items():
        own = [at for at, word in enumerate(words) if len(word) in lengths]
        of_part = scores(data.language, [words[at] for at in own], [said[at] for at in own])
        found |= {f"{name}_{part}": value for name, value in of_part.items()}
    return found


def _float(value: float) -> Tensor:
    return torch.tensor(np.float32(value))
