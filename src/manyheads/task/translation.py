"""Translation: every next word of the target, given the source and the words before it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from manyheads import atomic
from manyheads.data.base import DataSpec
from manyheads.task.answers import Words
from manyheads.task.base import Result, Task
from manyheads.task.search import Search
from manyheads.task.text_scores import METRICS, scores, signatures
from manyheads.training.collectives import gathered


class TranslationTask(Task):
    """Cross-entropy with label smoothing; BLEU and chrF of what the model writes by itself.

    smoothing: ε of the label smoothing. search: how test sentences are written.
    translated: how many sentences of the validation part are written (greedily) at each validation.
    """

    metrics = tuple(f"val/{name}" for name in ("loss", "nll", "accuracy", "perplexity", *METRICS))

    def __init__(
        self,
        model: nn.Module,
        spec: DataSpec,
        optimizer: Callable[..., Optimizer],
        schedule: Callable[..., LRScheduler],
        monitor: str,
        mode: str,
        smoothing: float,
        translated: int,
        search: Search,
    ) -> None:
        super().__init__(model, spec, optimizer, schedule, monitor, mode)
        self.smoothing, self.translated, self.search = smoothing, translated, search
        self._written: dict[str, dict[int, str]] = {}
        self.baseline: dict[str, float] = {}
        self.signatures: dict[str, str] = {}

    def answer(self, model: nn.Module, batch: Any) -> Words:
        sides = batch.source, batch.source_lengths, batch.target, batch.target_lengths
        return Words(*model.teach(*sides), model.head)

    def step(self, batch: Any) -> Result:
        answer = self.answer(self.model, batch)
        scored = self.model.head.loss(answer.states, answer.words, self.smoothing)
        means = {"nll": scored.nll / scored.count, "accuracy": scored.correct / scored.count}
        return Result(scored.loss / scored.count, scored.count, means, answer=answer)

    def validation_step(self, batch: Any, index: int) -> None:
        self.count("val", self.step(batch))
        wanted = batch.index < self.translated
        if wanted.any():
            self._write("val", batch, wanted, replace(self.search, method="greedy"))

    def on_validation_epoch_end(self) -> None:
        self._report_means("val")
        self._report_texts("val", "val")

    def test_step(self, batch: Any, index: int, dataloader_idx: int = 0) -> None:
        name = self.trainer.datamodule.test_names[dataloader_idx]
        self.count(name, self.step(batch))
        self._write(name, batch, torch.ones_like(batch.index, dtype=torch.bool), self.search)

    def on_test_epoch_end(self) -> None:
        names, rows = self.trainer.datamodule.test_names, []
        for name in names:
            logged = {**self._report_means(name), **self._report_texts(name, name, rows)}
            # The first set speaks for the run where none is called `test`.
            if name == names[0] and "test" not in names:
                self.log_dict({f"test/{key.rpartition('/')[2]}": value for key, value in logged.items()})
        if self.trainer.is_global_zero:
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            atomic.write_text(Path(self.trainer.default_root_dir) / "predictions.jsonl", "".join(lines))

    def _report_means(self, split: str) -> dict[str, float]:
        logged = self.report(split)
        perplexity = {f"{split}/perplexity": logged[f"{split}/nll"].exp()}
        self.log_dict(perplexity, rank_zero_only=True)
        return {**logged, **perplexity}

    def _write(self, split: str, batch: Any, wanted: torch.Tensor, search: Search) -> None:
        lengths = batch.source_lengths[wanted]
        ids = search(self.model, batch.source[wanted][:, : int(lengths.max())], lengths, self.spec)
        texts = self.trainer.datamodule.tokenizer.decode_target(ids)
        self._written.setdefault(split, {}).update(zip(batch.index[wanted].tolist(), texts, strict=True))

    def _report_texts(self, split: str, name: str, rows: list[dict[str, str]] | None = None) -> dict[str, float]:
        """Scores what was written of `split` on all ranks; the baseline is the source as it stands."""
        written = gathered(self._written.pop(split, {}))
        if not written or self.trainer.sanity_checking:
            return {}
        sources, targets = self.trainer.datamodule.texts(split)
        order = sorted(written)
        triples = [(sources[i], targets[i], written[i]) for i in order]
        source, target, translation = (list(column) for column in zip(*triples, strict=True))
        logged = {f"{name}/{key}": value for key, value in scores(translation, target).items()}
        self.signatures = signatures()
        self.log_dict(logged, rank_zero_only=True)
        if rows is not None:
            self.baseline |= {f"{name}/copied/{key}": value for key, value in scores(source, target).items()}
            rows += [{"set": name, "source": s, "target": t, "translation": w} for s, t, w in triples]
        else:
            self._show(triples[:: max(1, len(triples) // 8)][:8])
        return logged

    def _show(self, triples: list[tuple[str, str, str]]) -> None:
        rows = (f"| {' | '.join(map(_cell, triple))} |" for triple in triples)
        lines = ["| source | target | translation |", "|---|---|---|", *rows]
        for logger in self.trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_text("val/translations", "\n".join(lines), self.global_step)


def _cell(text: str) -> str:
    """As it stands in a table of markdown, where a bar or a line's end would begin another cell."""
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").split())
