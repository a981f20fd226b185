"""The commands of docs/*.md, and the same ones made short enough for a test."""

import re
import shlex
from pathlib import Path

from cells import TINY

DOCS = Path(__file__).parents[2] / "docs"
LAYERS = {"translation": ("encoder_layers", "decoder_layers")}

SHORT = {
    "train.py": ("trainer.max_epochs=1", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1"),
    "scripts/prune.py": ("trainer.limit_val_batches=1", "trainer.limit_test_batches=1"),
    "scripts/benchmark.py formal": (
        "steps=2",
        "languages=dyck",
        "attentions=dense",
        "positions=rope",
        "layers=1",
        "data.words=300",
    ),
    "scripts/benchmark.py extrapolation": ("steps=2", "positions=learned", "data.stories=200"),
    "scripts/benchmark.py pruned": ("lengths=8", "batches=1", "rounds=2"),
    "scripts/benchmark.py pruning": ("baselines=none", "trainer.limit_val_batches=1"),
}
"""What is said behind a command in a test, beside the sizes of its data."""

SIZED = ("train.py", "scripts/doctor.py")

FIRST = ("seed", "methods", "targets")
"""Lists of which a test takes the last alone."""

GPUS = ("trainer=ddp", "trainer=fsdp")
"""Commands with these are composed and not run."""


def commands() -> list[tuple[str, str]]:
    """Each guide's name with each of its commands, once."""
    found = [(guide.name, command) for guide in sorted(DOCS.glob("*.md")) for command in _commands(guide.read_text())]
    return list(dict.fromkeys(found))


def _commands(text: str) -> list[str]:
    joined = re.sub(r"\\\n\s*", "", text)
    lines = re.findall(r"^(?: {4,}|)(python (?:-m pytest|\S+\.py)\b.*)$", joined, re.M)
    return [line.partition(" #")[0].strip() for line in lines]


def words(command: str) -> list[str]:
    """As a shell splits it, without `python`."""
    return shlex.split(command)[1:]


def shortened(command: str, folder: Path) -> list[str]:
    """The same command with FOLDER's name, lists of one, and a model and data that take seconds."""
    script, *said = [_named(word, folder) for word in words(command)]
    keys = {word.partition("=")[0] for word in said}
    tiny = SHORT.get(f"{script} {said[0]}", SHORT.get(script, ()))
    tiny = (*tiny, *_sizes(said)) if script in SIZED else tiny
    return [script, *said, *(word for word in tiny if "resume" not in keys and word.partition("=")[0] not in keys)]


def _named(word: str, folder: Path) -> str:
    named = re.sub(r"\b(FOLDER|RUN)\b", str(folder), word)
    key, _, value = named.partition("=")
    return named if not value else f"{key}={value.split(',')[-1] if key in FIRST else value}"


def _sizes(said: list[str]) -> list[str]:
    kind = next((word.partition("=")[2] for word in said if word.startswith("data=")), "translation")
    layers = LAYERS.get(kind, ("layers",))
    depth = 2 if any(word.startswith("layers_attention=") for word in said) else 1
    place = [] if any(word.startswith("trainer=") for word in said) else ["trainer=cpu"]
    model = ["model.dim=16", "model.heads=2", "model.hidden=16", *(f"model.{name}={depth}" for name in layers)]
    whole = ["data.batch_tokens=2048"] if "data.read=whole" in said else []  # a row for a document, however long
    sizes = [word for word in TINY.get(kind, ()) if not (whole and word.startswith("data.batch_tokens="))]
    return [*place, *model, *sizes, *whole]
