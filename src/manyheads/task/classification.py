"""Labels of long documents: whatever is read at once, a document is judged, and counts, once."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from manyheads import atomic
from manyheads.data.base import DocumentSpec
from manyheads.task import document_scores
from manyheads.task.answers import Labels
from manyheads.task.base import Result, Task
from manyheads.task.document_baselines import baseline_scores
from manyheads.task.document_figures import figures
from manyheads.task.document_lines import SHOWN, line
from manyheads.training.collectives import gathered

GREATEST = 10.0  # Weight of a label, at most: a label of a few documents would else drown the rest.


@dataclass(frozen=True)
class Verdict:
    """What was read of one document: its logits, and which chunks spoke loudest: place and weight."""

    logits: Float[Tensor, "k"]
    chunks: list[tuple[int, float]]


class ClassificationTask(Task):
    """Cross-entropy over the labels, or over each of them alone where a document may have several.

    smoothing: ε of the label smoothing. balance: how rare labels are made up for in the loss.
    baselines: whether majority and TF-IDF are scored beside the model when it is tested.
    """

    metrics = tuple(f"val/{name}" for name in ("loss", *document_scores.NAMES))

    def __init__(
        self,
        model: nn.Module,
        spec: DocumentSpec,
        optimizer: Callable[..., Optimizer],
        schedule: Callable[..., LRScheduler],
        monitor: str,
        mode: str,
        smoothing: float,
        balance: Literal["none", "sqrt_inverse"],
        baselines: bool,
    ) -> None:
        super().__init__(model, spec, optimizer, schedule, monitor, mode)
        self.smoothing, self.balance, self.baselines = smoothing, balance, baselines
        # Buffers, so that a checkpoint has what its training and its validation found.
        self.register_buffer("weight", torch.ones(len(spec.labels)))
        self.register_buffer("threshold", torch.tensor(document_scores.EVEN, dtype=torch.float64))
        self._verdicts: dict[str, dict[int, Verdict]] = {}
        self.baseline: dict[str, float] = {}
        self.signatures: dict[str, str] = {}

    def setup(self, stage: str) -> None:
        if stage == "fit" and self.balance == "sqrt_inverse":
            self.weight.copy_(label_weights(self.trainer.datamodule.targets("train"), len(self.spec.labels)))

    def answer(self, model: nn.Module, batch: Any) -> Labels:
        reading = model(batch)
        return Labels(reading.scores, reading.ways, self.spec.multilabel)

    def step(self, batch: Any) -> Result:
        answer = self.answer(self.model, batch)
        result = replace(self._judge(answer.scores, batch.labels), answer=answer)
        if not answer.ways:
            return result
        losses = [self._judge(scores, batch.labels).loss for scores in answer.ways]
        return replace(result, loss=torch.stack(losses).mean())

    def _judge(self, scores: Float[Tensor, "b k"], labels: Tensor) -> Result:
        scores = scores.float()
        if self.spec.multilabel:
            right = ((scores > 0) == labels.bool()).all(1)
            soft = labels.float() * (1 - self.smoothing) + self.smoothing / 2
            loss = F.binary_cross_entropy_with_logits(scores, soft, pos_weight=self.weight)
        else:
            right = scores.argmax(1) == labels
            each = F.cross_entropy(scores, labels, label_smoothing=self.smoothing, reduction="none")
            loss = (each * self.weight[labels]).mean()
        return Result(loss, len(labels), {"accuracy": right.float().mean()})

    def validation_step(self, batch: Any, index: int) -> None:
        self._note("val", batch)

    def on_validation_epoch_end(self) -> None:
        self.report("val")
        found = gathered(self._verdicts.pop("val", {}))
        if not found or self.trainer.sanity_checking:
            return
        _, probabilities, targets = self._compared("val", found)
        if self.spec.multilabel:
            self.threshold.fill_(document_scores.threshold(probabilities, targets))
        self._score("val", probabilities, targets)
        if any(isinstance(logger, TensorBoardLogger) for logger in self.trainer.loggers):
            self._draw("val", probabilities, targets)

    def test_step(self, batch: Any, index: int, dataloader_idx: int = 0) -> None:
        self._note(self.trainer.datamodule.test_names[dataloader_idx], batch)

    def on_test_epoch_end(self) -> None:
        names, lines, rows = self.trainer.datamodule.test_names, [], {}
        for name in names:
            logged, found = self.report(name), gathered(self._verdicts.pop(name, {}))
            if not found:
                continue
            rows[name], probabilities, targets = self._compared(name, found)
            logged |= self._score(name, probabilities, targets)
            # The first set speaks for the run where none is called `test`.
            if name == names[0] and "test" not in names:
                self.log_dict({f"test/{key.rpartition('/')[2]}": value for key, value in logged.items()})
            self._draw(name, probabilities, targets)
            lines += self._lines(name, found, probabilities)
        if self.trainer.is_global_zero:
            self._finish(lines, rows)

    def _note(self, split: str, batch: Any) -> None:
        reading = self.model(batch)
        self.count(split, replace(self._judge(reading.scores, batch.labels), means={}))
        self._verdicts.setdefault(split, {}).update(verdicts(batch, reading))

    def _compared(self, split: str, found: dict[int, Verdict]) -> tuple[list[int], np.ndarray, np.ndarray]:
        """Rows that were read, ascending; their probabilities and their targets."""
        rows = sorted(found)
        logits = torch.stack([found[row].logits for row in rows])
        probabilities = document_scores.probabilities(logits, self.spec.multilabel).numpy()
        return rows, probabilities, np.asarray(self.trainer.datamodule.targets(split))[rows]

    def _score(self, split: str, probabilities: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        logged = {f"{split}/{key}": value for key, value in document_scores.scores(probabilities, targets).items()}
        if self.spec.multilabel and split != "val":
            logged[f"{split}/threshold"] = above = float(self.threshold)
            logged[f"{split}/f1_micro_tuned"] = document_scores.f1_micro(probabilities, targets, above)
        self.log_dict(logged, rank_zero_only=True)
        return logged

    def _draw(self, split: str, probabilities: np.ndarray, targets: np.ndarray) -> None:
        """TensorBoard has every validation, the run's folder the test sets."""
        if not self.trainer.is_global_zero or not np.isfinite(probabilities).all():
            return
        for name, figure in figures(probabilities, targets, self.spec.labels).items():
            if split != "val":
                path = Path(self.trainer.default_root_dir) / "figures" / f"{split}_{name}.png"
                atomic.write(path, lambda partial, figure=figure: figure.savefig(partial, format="png", dpi=150))
            for logger in self.trainer.loggers:
                if isinstance(logger, TensorBoardLogger):
                    logger.experiment.add_figure(f"{split}/{name}", figure, self.global_step)

    def _lines(self, name: str, found: dict[int, Verdict], probabilities: np.ndarray) -> list[dict[str, Any]]:
        data, labels = self.trainer.datamodule, self.spec.labels
        names, spans, targets = data.names(name), data.spans(name), np.asarray(data.targets(name))
        lines = []
        for row, given in zip(sorted(found), probabilities, strict=True):
            truth = {"truth": _named(targets[row], labels)}
            said = line(labels, given, self.spec.multilabel, found[row].chunks, spans[row])
            lines.append({"set": name, "document": names[row], **truth, **said})
        return lines

    def _finish(self, lines: list[dict[str, Any]], rows: dict[str, list[int]]) -> None:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in lines)
        atomic.write_text(Path(self.trainer.default_root_dir) / "predictions.jsonl", text)
        data = self.trainer.datamodule
        # Test sets that come alone have no training documents beside them.
        if self.baselines and rows and is_overridden("train_dataloader", data):
            self.baseline = baseline_scores(data, rows, len(self.spec.labels))


@torch.no_grad()
def verdicts(batch: Any, reading: Any) -> dict[int, Verdict]:
    """Of each document of a batch, by its row."""
    logits, weights = reading.scores.float().cpu(), reading.weights.float().cpu()
    document, place = batch.document.cpu(), batch.place.tolist()
    bounds = torch.searchsorted(document, torch.arange(len(logits) + 1)).tolist()
    found = {}
    for number, row in enumerate(batch.index.tolist()):
        begin, end = bounds[number], bounds[number + 1]
        loud = weights[begin:end].topk(min(SHOWN, end - begin))
        chunks = [(place[begin + n], w) for n, w in zip(loud.indices.tolist(), loud.values.tolist(), strict=True)]
        found[row] = Verdict(logits[number], chunks)
    return found


def label_weights(targets: Int[np.ndarray, "d"] | Int[np.ndarray, "d k"], labels: int) -> Float[Tensor, "k"]:
    """√(documents per label on average / documents of this one), at most GREATEST.

    Where a document may have several labels: √(documents without / documents with), the weight of those with.
    The root, as full inverses would make a label of three documents the loudest.
    """
    targets = np.asarray(targets)
    if targets.ndim == 2:
        having = targets.sum(0)
        ratio = (len(targets) - having) / np.maximum(having, 1)
    else:
        having = np.bincount(targets, minlength=labels)
        ratio = len(targets) / labels / np.maximum(having, 1)
    return torch.from_numpy(np.minimum(np.sqrt(ratio), GREATEST)).float()


def _named(target: Any, labels: tuple[str, ...]) -> str | list[str]:
    return [labels[n] for n in np.flatnonzero(target)] if np.ndim(target) else labels[int(target)]
