"""Small models of every family in float64, and all that they answer, to be compared with what pruned ones answer."""

from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from manyheads.attention.layers import Layers
from manyheads.config.compose import compose
from manyheads.config.objects import instantiate
from manyheads.config.places import conf_folder
from manyheads.data.base import DataSpec, DocumentSpec, SeriesSpec, TokenSpec, WordSpec
from manyheads.model.generate import Ends, beam, greedy
from manyheads.model.pairing import FAMILIES, pair
from manyheads.model.shapes import DecoderOnly, EncoderDecoder, EncoderOnly
from manyheads.preflight.subjects.documents import Chunks
from manyheads.preflight.subjects.series import Windows

SHAPES = {"encoder_only": EncoderOnly, "decoder_only": DecoderOnly, "encoder_decoder": EncoderDecoder}
CELLS = [(kind, name) for kind in FAMILIES for name, shape in SHAPES.items() if shape not in FAMILIES[kind].unfit]
ATTENTIONS = sorted(file.stem for file in (conf_folder() / "attention").glob("*.yaml"))
POSITIONS = sorted(file.stem for file in (conf_folder() / "position").glob("*.yaml"))
BLOCKS = sorted(file.stem for file in (conf_folder() / "model" / "block").glob("*.yaml"))
NARROW = {
    "sliding_window": ("attention.pattern.width=2",),
    "bigbird": ("attention.pattern.block=2", "attention.pattern.window=0", "attention.pattern.random=1"),
}
"""What makes a pattern hide something of the few tokens that there are."""

WORDS = {"source_vocabulary": 23, "target_vocabulary": 23, "joint": True, "pad": 0, "bos": 1, "eos": 2, "sep": 4}
HOW = {"multilabel": True, "pool": "attention", "aggregate": "hierarchical", "layers": 1, "most": 9}
BESIDE = {"bag_of_words": True, "word_dropout": 0.0}
STEPS = {"history": 22, "horizon": 11, "patch": 4, "stride": 2}
SPECS: dict[str, DataSpec] = {
    "translation": TokenSpec(kind="translation", longest=32, **WORDS),
    "language_model": TokenSpec(kind="language_model", longest=32, **WORDS),
    "clinical_long": DocumentSpec(kind="clinical_long", longest=32, labels=("a", "b", "c"), **WORDS, **HOW, **BESIDE),
    "timeseries": SeriesSpec(kind="timeseries", longest=12, channels=2, known=2, quantiles=(0.1, 0.5, 0.9), **STEPS),
    "formal_language": WordSpec(kind="formal_language", longest=32, labels=("a", "b", "c"), **WORDS),
}


@cache
def _config(*overrides: str) -> Any:
    return compose(list(overrides))


def instantiated(group: str, name: str) -> Any:
    """The factory of conf/<group>/<name>.yaml."""
    found = _config(f"{group}={name}")
    for key in group.split("/"):
        found = found[key]
    return instantiate(found)


def attention(name: str, *more: str) -> Any:
    """A factory of the attention `name`, as conf has it but for what `more` and NARROW say."""
    return instantiate(_config(f"attention={name}", *NARROW.get(name, ()), *more).attention)


def mixed(*names: str) -> Layers:
    """Another attention in every layer."""
    return Layers([attention(name) for name in names], attention("dense"))


def parts(attention: Any, position: str, block: Any, **changes: Any) -> dict[str, Any]:
    """What a shape is made of. block: its name, or a factory."""
    factories = {"attention": attention, "position": instantiated("position", position)}
    factories["block"] = instantiated("model/block", block) if isinstance(block, str) else block
    sizes = {"dim": 16, "heads": 4, "head_dim": None, "hidden": 12, "dropout": 0.1}
    return sizes | factories | changes


def build(kind: str, shape: str, attention: Any, position: str, block: Any, **changes: Any) -> nn.Module:
    """A model as it begins. changes: of its parts, or the `spec`."""
    spec = changes.pop("spec", SPECS[kind])
    both = {"encoder_layers": 2, "decoder_layers": 2, "tie": True}
    more = {"encoder_only": {"layers": 2}, "decoder_only": {"layers": 2, "tie": True}, "encoder_decoder": both}[shape]
    made = partial(SHAPES[shape], **{**parts(attention, position, block), **more, **changes})
    return pair(SHAPES[shape], made, spec)


def grown(model: nn.Module) -> nn.Module:
    """In float64, in evaluation, and as if it had been trained: no weight is small or zero."""
    model.double().eval()
    with torch.no_grad():
        for weight in model.parameters():
            size = 0.5 if weight.dim() == 1 else 1.2 / weight.size(1) ** 0.5
            weight.copy_(torch.randn_like(weight) * size)
            if weight.dim() == 1:
                weight.add_(weight.sign() * 0.3)
    return model


def answers(kind: str, model: nn.Module) -> dict[str, Any]:
    """Everything that the model is asked for in its family, rows alone included; the same questions for every model."""
    with torch.inference_mode():
        return ASKED[kind](model)


def loss(kind: str, model: nn.Module) -> Tensor:
    """A number on which every answer of a training has a say."""
    lesson = LESSONS[kind](model)
    dice = torch.Generator().manual_seed(3)
    return (lesson * torch.randn(lesson.shape, generator=dice).to(lesson)).sum()


# --- pairs ----------------------------------------------------------------------------------------------------------

LENGTHS, LONGEST = ((9, 1, 4, 6), (3, 7, 2, 5)), (9, 7)


def _dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _words(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(5, WORDS["source_vocabulary"], shape, generator=_dice(seed))


def _pairs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    source, target = (_words(len(LENGTHS[0]), n, seed=n) for n in LONGEST)
    return source, torch.tensor(LENGTHS[0]), target, torch.tensor(LENGTHS[1])


def _taught(model: nn.Module) -> Tensor:
    return model.head(model.teach(*_pairs())[0])


def _translated(model: nn.Module) -> dict[str, Any]:
    source, lengths, target, ends = _pairs()
    rows = [
        model.head(model.teach(source[b : b + 1, :n], lengths[b : b + 1], target[b : b + 1, :m], ends[b : b + 1])[0])
        for b, (n, m) in enumerate(zip(*LENGTHS, strict=True))
    ]
    return {"taught": _taught(model), "alone": torch.cat(rows)} | _written(model, source, lengths)


def _written(model: nn.Module, source: Tensor, lengths: Tensor) -> dict[str, Any]:
    decoding, found = model.decoding(source, lengths, 2), []
    for step in range(4):
        found.append(decoding.step(_words(2 * len(source), seed=step)))
        decoding.select(torch.tensor([1, 0, 3, 3, 4, 5, 6, 6]))
    ends = Ends(2, torch.full((len(source),), 6), (0, 1))
    searched = {
        "greedy": greedy(model.decoding(source, lengths, 1), model.first, ends),
        "beam": beam(model.decoding(source, lengths, 3), model.first, ends, 1.0),
    }
    return {"steps": torch.cat(found), **searched}


# --- packed text ----------------------------------------------------------------------------------------------------


def _packed() -> tuple[Tensor, Tensor]:
    documents = torch.tensor([[0] * 5 + [1] * 8, [0] * 2 + [1] * 4 + [2] * 4 + [-1] * 3])
    return _words(2, documents.size(1), seed=4), documents


def _read(model: nn.Module) -> Tensor:
    return model.head(model(*_packed()))


def _packs(model: nn.Module) -> dict[str, Any]:
    tokens, documents = _packed()
    second = model.head(model(tokens[:1, 5:]))
    return {"packed": _read(model)[documents >= 0], "alone": second} | _written(model, *_pairs()[:2])


# --- documents ------------------------------------------------------------------------------------------------------


def chunks(lengths: tuple[int, ...], of: tuple[int, ...], place: tuple[int, ...]) -> Chunks:
    ids = _words(len(lengths), max(lengths), seed=5)
    return Chunks(torch.arange(of[-1] + 1), ids, *map(torch.tensor, (lengths, of, place)))


CHUNKED = ((7, 11, 4, 8, 5), (0, 0, 1, 1, 1), (0, 1, 0, 2, 3))
UNCUT = ((9, 3, 11), (0, 1, 2), (0, 0, 0))


def _labelled(model: nn.Module) -> dict[str, Any]:
    found = {}
    batches = {"chunks": chunks(*CHUNKED), "whole": chunks(*UNCUT)}
    batches |= {f"alone {d}": batches["chunks"].only(d) for d in range(2)}
    for name, batch in batches.items():
        read = model(batch)
        found |= {f"{name} {what}": getattr(read, what) for what in ("scores", "chunk_scores", "weights")}
    return found


# --- series ---------------------------------------------------------------------------------------------------------


def windows() -> Windows:
    dice, rows, steps = _dice(6), 3, (STEPS["history"], STEPS["horizon"])
    draw = partial(torch.randn, generator=dice)
    seen = [draw(rows, n, 2) > -1 for n in steps]
    values = [draw(rows, n, 2).double() * there for n, there in zip(steps, seen, strict=True)]
    return Windows(*values, *seen, *(draw(rows, n, 2).double() for n in steps))


def _forecast(model: nn.Module) -> dict[str, Any]:
    batch = windows()
    rows = torch.cat([model(batch.row(b)) for b in range(len(batch.history))])
    return {"forecast": model(batch), "alone": rows, "taught": model.teach(batch)[0]}


# --- words ----------------------------------------------------------------------------------------------------------


def _prefixes(model: nn.Module) -> Tensor:
    """Of every place that is a prefix's."""
    tokens, lengths = _pairs()[:2]
    return model.head(model(tokens, lengths))[torch.arange(tokens.size(1)) < lengths.unsqueeze(1)]


def _recognised(model: nn.Module) -> dict[str, Any]:
    tokens, lengths = _pairs()[:2]
    rows = [model.head(model(tokens[b : b + 1, :n], lengths[b : b + 1]))[0] for b, n in enumerate(lengths.tolist())]
    return {"prefixes": _prefixes(model), "alone": torch.cat(rows)}


ASKED = {
    "translation": _translated,
    "language_model": _packs,
    "clinical_long": _labelled,
    "timeseries": _forecast,
    "formal_language": _recognised,
}
LESSONS = {
    "translation": _taught,
    "language_model": _read,
    "clinical_long": lambda model: model(chunks(*CHUNKED)).scores,
    "timeseries": lambda model: model.teach(windows())[0],
    "formal_language": _prefixes,
}
