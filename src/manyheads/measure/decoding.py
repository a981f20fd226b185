"""What the cache saves: the same sentences written with it and without, and what beam search costs."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from manyheads import build
from manyheads.load import Loaded, load_run
from manyheads.task.search import Search


def decoding(folder: Path, sentences: int | None) -> dict[str, Any]:
    """Sentences per second of a run's model on its first test set: greedy with and without cache, and its own beam."""
    run = load_run(folder, device="auto")
    loader, beam = _loader(run, sentences), build.instantiate(run.config.task.search)
    greedy = replace(beam, method="greedy")
    found = {
        "greedy, cached": _write(run, loader, greedy, cached=True),
        "greedy, recomputed": _write(run, loader, greedy, cached=False),
        f"beam {beam.width}, cached": _write(run, loader, replace(beam, method="beam"), cached=True),
    }
    cached, recomputed, _ = found.values()
    return {
        "sentences": len(cached["ids"]),
        "same_sentences": cached["ids"] == recomputed["ids"],
        "speed_up_of_cache": recomputed["seconds"] / cached["seconds"],
        "sentences_per_second": {name: len(one["ids"]) / one["seconds"] for name, one in found.items()},
        "cpu_seconds": {name: one["cpu"] for name, one in found.items()},
    }


def _loader(run: Loaded, sentences: int | None) -> list[Any]:
    data = run.data
    data.setup("test")
    batches = list(data.test_dataloader()[0])
    return batches if sentences is None else batches[: max(1, sentences // len(batches[0]))]


def _write(run: Loaded, batches: list[Any], search: Search, cached: bool) -> dict[str, Any]:
    device = next(run.model.parameters()).device
    wall, cpu, ids = time.perf_counter(), time.process_time(), []
    for batch in (batch.to(device) for batch in batches):
        ids += search(run.model, batch.source, batch.source_lengths, run.spec, cached)
    return {"ids": ids, "seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
