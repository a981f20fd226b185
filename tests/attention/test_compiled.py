"""The second gate of the Triton kernels, without a GPU: what they become for one (sm_90a)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SPILLING = {"linear forward bf16 256x256 causal", "flash queries fp32 256 causal 16x16"}
"""Of the kernels compiled here, those that are known to need more registers than there are (benchmarks/GPU_TODO.md)."""


def compiled(tmp_path, only: str) -> list[dict]:
    """In a process that does not interpret kernels, as this one does."""
    file = tmp_path / "compiled.json"
    command = [sys.executable, "scripts/benchmark.py", "compiled", f"only={only}", f"output={file}"]
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(file.read_text())["kernels"]


@pytest.mark.slow
@pytest.mark.parametrize("only", ["flash causal", "flash blocks", "flash window", "flash cached", "linear bf16"])
def test_kernels_fit_the_device_and_use_its_tensor_cores(tmp_path, only):
    found = compiled(tmp_path, only)
    assert found
    assert {kernel["name"] for kernel in found if kernel["spills"] or kernel["stack"]} <= SPILLING
    for kernel in found:
        assert kernel["shared"] <= 227 * 1024, kernel
        if "bf16" in kernel["name"].split():
            assert kernel["wgmma"] + kernel["mma"] > 0, kernel


def test_an_interpreter_is_not_taken_for_a_compiler(tmp_path):
    command = [sys.executable, "scripts/benchmark.py", "compiled"]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "error: TRITON_INTERPRET=1 is set" in done.stderr
