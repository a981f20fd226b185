"""What an export has come to, on one screen."""

from pathlib import Path
from typing import Any


def show(said: dict[str, Any], folder: Path) -> None:
    for name, size in said["bytes"].items():
        print(f"{name}: {size:,} bytes")
    _answers("the model's own answers", said["parity"])
    if "int8" in said:
        _answers("answers of fp32, in int8", said["int8"])
        both = " and ".join(f"{name} {took:.2f} ms" for name, took in said["int8"]["milliseconds"].items())
        print(f"median latency on this CPU: {both}")
    if "graph" in said:
        _graph(said["graph"])
    print(f"Everything is in {folder}")


def _answers(of: str, found: dict[str, Any]) -> None:
    error, largest = found["max_abs_error"], found["max_abs_answer"]
    print(f"greatest difference from {of}: {error:.3g}, beside answers of up to {largest:.3g}")


def _graph(graph: dict[str, Any]) -> None:
    for name, shape in graph["inputs"].items():
        print(f"input {name}: ({', '.join(map(str, shape))})")
    kernels = ", ".join(f"{rule} by {kernel}" for rule, kernel in graph["kernels"].items())
    print(f"Attention in the graph: {kernels}: the same function, at a cost of queries × keys.")
