"""Language modelling: every next token of a text, given its document so far."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from manyheads import atomic
from manyheads.baseline.text import Guess, compressed, guesses
from manyheads.data.base import DataSpec
from manyheads.model.head import Scored
from manyheads.task.answers import Words
from manyheads.task.base import Result, Task
from manyheads.task.continuation import Continuation
from manyheads.training.collectives import add_up

NAMES = ("loss", "perplexity", "bits_per_byte", "accuracy")


class LanguageModelTask(Task):
    """Cross-entropy of the next token; perplexity per token, and bits per byte, which no tokenizer flatters.

    continuation: which test documents the model goes on with by itself. lzma_bytes: how much text the compressor may
    read of the training split, and of a test set; 0 leaves it out. ngram_tokens: tokens that n-grams are counted in.
    """

    metrics = tuple(f"val/{name}" for name in NAMES)

    def __init__(
        self,
        model: nn.Module,
        spec: DataSpec,
        optimizer: Callable[..., Optimizer],
        schedule: Callable[..., LRScheduler],
        monitor: str,
        mode: str,
        continuation: Continuation,
        ngram_tokens: int,
        lzma_bytes: int,
    ) -> None:
        super().__init__(model, spec, optimizer, schedule, monitor, mode)
        self.continuation, self.ngram_tokens, self.lzma_bytes = continuation, ngram_tokens, lzma_bytes
        self.baseline: dict[str, float] = {}
        self.signatures: dict[str, str] = {}
        self._sums: dict[str, Tensor] = {}

    def answer(self, model: nn.Module, batch: Any) -> Words:
        states = model(batch.ids, batch.documents if batch.several else None)
        return Words(states[batch.counted], batch.targets[batch.counted], model.head)

    def step(self, batch: Any) -> Result:
        answer = self.answer(self.model, batch)
        scored = self._judge(answer)
        means = {"accuracy": scored.correct / scored.count}
        return Result(scored.loss / scored.count, scored.count, means, answer=answer)

    def validation_step(self, batch: Any, index: int) -> None:
        self._add("val", batch)

    def on_validation_epoch_end(self) -> None:
        self._report("val")

    def test_step(self, batch: Any, index: int, dataloader_idx: int = 0) -> None:
        self._add(self.trainer.datamodule.test_names[dataloader_idx], batch)

    def on_test_epoch_end(self) -> None:
        names, rows = self.trainer.datamodule.test_names, []
        for name in names:
            logged = self._report(name)
            # The first set speaks for the run where none is called `test`.
            if name == names[0] and "test" not in names:
                self.log_dict({f"test/{key.rpartition('/')[2]}": value for key, value in logged.items()})
            if self.trainer.is_global_zero:
                self.baseline |= self._compare(name)
                rows += self._write(name)
        if self.trainer.is_global_zero:
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            atomic.write_text(Path(self.trainer.default_root_dir) / "predictions.jsonl", "".join(lines))

    def _score(self, batch: Any) -> Scored:
        return self._judge(self.answer(self.model, batch))

    def _judge(self, answer: Words) -> Scored:
        return self.model.head.loss(answer.states, answer.words, 0.0)

    def _add(self, split: str, batch: Any) -> None:
        """Sums, not means: rows have unequal numbers of tokens, and tokens of bytes."""
        scored = self._score(batch)
        found = [scored.nll.double(), scored.correct.double(), *self._numbers(scored.count, batch.bytes)]
        self._sums[split] = self._sums.get(split, 0) + torch.stack(found)

    def _numbers(self, *numbers: int) -> Tensor:
        return torch.tensor(numbers, dtype=torch.float64, device=self.device)

    def _report(self, split: str) -> dict[str, Tensor]:
        """Logs what all ranks summed; each row is in the batches of one of them."""
        sums = self._sums.pop(split, self._numbers(0, 0, 0, 0))
        add_up(sums)
        nll, correct, count, size = sums.unbind()
        if not count:
            return {}
        values = (nll / count, (nll / count).exp(), nll / math.log(2) / size, correct / count)
        logged = {f"{split}/{name}": value.float() for name, value in zip(NAMES, values, strict=True)}
        self.log_dict(logged, rank_zero_only=True)
        return logged

    def _compare(self, name: str) -> dict[str, float]:
        """What is known without a model, on the very same tokens."""
        data = self.trainer.datamodule
        train, test, sizes = data.store("train"), data.store(name), data.tokenizer.bytes
        learnt = None if train is None else train.tokens[: self.ngram_tokens]
        found = {}
        for guess in guesses(learnt, test.tokens, len(sizes), self.spec.bos):
            found |= _named(f"{name}/{guess.name}", guess, int(sizes[test.tokens].sum()) - len(test))
        if self.lzma_bytes:
            texts = [_text(data, store, self.lzma_bytes, last) for store, last in ((train, True), (test, False))]
            found[f"{name}/lzma/bits_per_byte"] = compressed(*texts)
        return found

    def _write(self, name: str) -> list[dict[str, str]]:
        """How the model goes on with the first documents of a test set."""
        data, wanted = self.trainer.datamodule, self.continuation
        store = data.store(name)
        documents = [store.document(number).tolist() for number in range(min(wanted.prompts, len(store)))]
        # Of a short document the first half is given.
        given = [1 + min(wanted.given, (len(ids) - 1) // 2) for ids in documents]
        prompts = [ids[:n] for ids, n in zip(documents, given, strict=True)]
        greedy, sampled = (wanted(self.model, self.spec, prompts, method) for method in ("greedy", "sample"))
        told = [ids[n : n + wanted.longest] for ids, n in zip(documents, given, strict=True)]
        columns = zip(
            map(data.tokenizer.decode_document, prompts),
            *(map(data.tokenizer.decode, ids) for ids in (told, greedy, sampled)),
            strict=True,
        )
        return [{"set": name, "prompt": p, "text": t, "greedy": g, "sampled": s} for p, t, g, s in columns]


def _named(place: str, guess: Guess, size: int) -> dict[str, float]:
    loss = guess.nll / guess.count
    bits = guess.nll / math.log(2) / size
    return {f"{place}/loss": loss, f"{place}/perplexity": math.exp(loss), f"{place}/bits_per_byte": bits}


def _text(data: Any, store: Any, size: int, last: bool) -> bytes:
    """The first or last bytes of a split's text."""
    if store is None:
        return b""
    ids = store.tokens[-size:] if last else store.tokens[:size]  # a token is a byte or more
    text = data.tokenizer.decode(ids.tolist()).encode()
    return text[-size:] if last else text[:size]
