"""The pairing table of models, data and attentions, with settings that take seconds."""

from manyheads.config.places import conf_folder

ATTENTIONS = sorted(file.stem for file in (conf_folder() / "attention").glob("*.yaml"))
SHAPES = ("encoder_only", "decoder_only", "encoder_decoder")
TINY = {
    "translation": ("data.pairs=500", "data.vocabulary=300", "data.batch_tokens=1000", "task.search.width=2"),
    "clinical_long": (
        "data.documents=60",
        "data.length=200",
        "data.chunk=64",
        "data.overlap=8",
        "data.vocabulary=400",
        "data.batch_tokens=1024",
        "data.aggregate=hierarchical",
        "data.layers=1",
        "task.baselines=false",
    ),
    "timeseries": ("data.history=48", "data.horizon=24", "data.batch=64", "data.every=40", "task.baselines=false"),
    "formal_language": ("data.words=300", "data.tests=20", "data.longest=12", "data.batch_tokens=256"),
    "language_model": (
        "data.stories=60",
        "data.vocabulary=300",
        "data.length=64",
        "data.context=16",
        "data.batch_tokens=512",
        "task.lzma_bytes=0",
        "task.continuation.prompts=2",
        "task.continuation.longest=4",
    ),
}
REFUSED = {
    ("translation", "encoder_only"): "model=encoder_decoder or model=decoder_only",
    ("language_model", "encoder_only"): "model=decoder_only",
    ("language_model", "encoder_decoder"): "model=decoder_only",
}
CELLS = [(kind, shape) for kind in TINY for shape in SHAPES if (kind, shape) not in REFUSED]

MET = [
    (*cell, attention)
    for row, attention in enumerate(ATTENTIONS)
    for at, cell in enumerate(CELLS)
    if (at + row) % 3 == 0
]
"""Every attention in every third cell, for what is dear: nearly all families see it, each in another shape."""


def settings(kind: str, shape: str, *more: str) -> list[str]:
    layers = ("encoder_layers", "decoder_layers") if shape == "encoder_decoder" else ("layers",)
    sizes = ["model.dim=16", "model.heads=2", "model.hidden=16", *(f"model.{name}=1" for name in layers)]
    return [f"data={kind}", f"model={shape}", *sizes, *TINY[kind], *more]
