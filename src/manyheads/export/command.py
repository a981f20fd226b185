"""The command line: `python scripts/export.py run=FOLDER format=safetensors|torch_export|onnx …`."""

import sys

from manyheads.config.arguments import guarded, parse
from manyheads.config.threads import calm_threads
from manyheads.export.asked import Export, refuse_vain


def main() -> None:
    calm_threads()
    sys.exit(guarded(lambda: _export(parse(Export, sys.argv[1:]))))


def _export(asked: Export) -> None:
    refuse_vain(asked)
    # Imported here: a typo is answered without waiting for torch.
    from manyheads.export.show import show
    from manyheads.export.write import write

    show(write(asked), asked.folder)
