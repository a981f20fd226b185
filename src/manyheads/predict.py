"""Uses a finished run on new input: translates, labels, forecasts or goes on writing, as the run was trained to."""

import sys
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING

from manyheads.config.arguments import guarded, parse
from manyheads.config.threads import calm_threads
from manyheads.errors import UserError
from manyheads.predictions.asked import Predict

if TYPE_CHECKING:
    from manyheads.analysis.page import Pass
    from manyheads.load import Loaded


def main() -> None:
    """The command line: `python scripts/predict.py run=FOLDER input=FILE`."""
    calm_threads()
    sys.exit(guarded(lambda: predict(parse(Predict, sys.argv[1:]))))


def predict(asked: Predict) -> None:
    """Writes the lines that the family's predictor gives: all of them or, to a file, none."""
    # Imported here: a typo is answered without waiting for torch.
    from manyheads import atomic
    from manyheads.load import load_run

    run = load_run(asked.run, asked.checkpoint, asked.device)
    family = import_module(f"manyheads.predictions.{run.spec.kind}")
    if asked.attention_maps and asked.input == "-":
        raise UserError("attention_maps=true reads the input a second time, which input=- has only once: name a file.")
    lines = family.lines(asked, run)
    if asked.output is not None:
        atomic.write_text(asked.output, "".join(f"{line}\n" for line in lines))
    else:
        for line in lines:
            print(line, flush=True)
    if asked.attention_maps:
        _draw(asked, run, family.passes(asked, run))


def _draw(asked: Predict, run: "Loaded", passes: "Iterator[Pass]") -> None:
    """The page of maps: beside the results, or in the run's figures."""
    from manyheads import atomic
    from manyheads.analysis.labels import Labels
    from manyheads.analysis.page import page
    from manyheads.attention.used import used

    labels = Labels(run.model, run.spec, run.data)
    what = f"data={run.spec.kind}, computed by {used(run.model)}, weights of checkpoints/{asked.checkpoint}.ckpt."
    content = page(run.model, labels, passes, f"Where the heads of {asked.run.resolve().name} look", what)
    own = asked.run / "figures" / "attention_maps.html"
    path = own if asked.output is None else asked.output.with_name(f"{asked.output.stem}_attention.html")
    atomic.write_text(path, content)
    print(f"Attention maps: {path}", file=sys.stderr)
