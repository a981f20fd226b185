"""Every test starts from the same random numbers, on one thread.

One thread is fastest for so little, and the same bits come out whether a test computes here or in a process of its own.
"""

import os
import subprocess

import pytest
import torch

torch.set_num_threads(1)
if not torch.cuda.is_available():
    # Before anything imports Triton: its kernels then run on the CPU, one program after the other.
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def small_disk(tmp_path):
    """Makes a disk of so many KiB; a second call makes it larger."""
    folder = tmp_path / "disk"
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")

    def make(size):
        again = ["-o", f"remount,size={size}k"] if folder.is_mount() else ["-t", "tmpfs", "-o", f"size={size}k"]
        folder.mkdir(exist_ok=True)
        done = subprocess.run(["mount", *again, "none", str(folder)], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
        return folder

    yield make
    if folder.is_mount():
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
