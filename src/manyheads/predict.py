"""Uses a finished run on new input: translates, labels, forecasts or goes on writing, as the run was trained to."""

import sys
from importlib import import_module

from manyheads.config.arguments import guarded, parse
from manyheads.config.threads import calm_threads
from manyheads.predictions.asked import Predict


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
    lines = import_module(f"manyheads.predictions.{run.spec.kind}").lines(asked, run)
    if asked.output is not None:
        atomic.write_text(asked.output, "".join(f"{line}\n" for line in lines))
        return
    for line in lines:
        print(line, flush=True)
