"""The reference of the Python interface is made by one command, and has what others build on."""

import shutil
import subprocess
import sys
from pathlib import Path

import command
import pytest


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_the_reference_shows_contracts_with_their_docstrings(tmp_path):
    environment = Path(sys.executable).parents[1]
    asked = ["make", "--assume-old", f"{environment}/.ready", "api", f"VENV={environment}", f"OUT={tmp_path}"]
    done = subprocess.run(asked, cwd=command.REPOSITORY, env=command.environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "manyheads" / "attention" / "base.html").read_text()
    assert "A query that sees no key gives zeros" in page
    assert (tmp_path / "manyheads" / "pruning" / "compact.html").is_file()
    assert (tmp_path / "index.html").is_file()
