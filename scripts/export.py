"""python scripts/export.py run=FOLDER format=safetensors|torch_export|onnx … ; --help lists the arguments."""

from manyheads.export.command import main

if __name__ == "__main__":
    main()
