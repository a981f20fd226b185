"""The guide's own attention: its file and its yaml, put where it says, are all that a run needs."""

import re
import shutil
import subprocess
import sys

import command as run
import pytest
from cells import settings
from guides import DOCS


@pytest.fixture
def copy(tmp_path):
    """A copy of the package with the guide's two files."""
    for name in ("src", "conf", "train.py", "pyproject.toml"):
        source = run.REPOSITORY / name
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, tmp_path / name, ignore=ignore) if source.is_dir() else shutil.copy(source, tmp_path)
    blocks = re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", (DOCS / "add_an_attention.md").read_text(), re.S)
    assert [name for name, _ in blocks] == ["src/manyheads/attention/cosine.py", "conf/attention/cosine.yaml"]
    for name, content in blocks:
        (tmp_path / name).write_text(content)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(("more", "answer"), [((), 0), (("position=alibi",), 1), (("attention.g=abc",), 1)])
def test_the_guides_attention_trains_or_is_refused(more, answer, copy):
    asked = settings("timeseries", "encoder_only", "attention=cosine", "trainer=cpu", "trainer.max_steps=2")
    few = ("trainer.limit_val_batches=1", "trainer.limit_test_batches=1")
    done = subprocess.run(
        [sys.executable, "train.py", *asked, *few, *more, f"hydra.run.dir={copy / 'run'}"],
        cwd=copy,
        env=run.environment(PYTHONPATH=str(copy / "src")),
        capture_output=True,
        text=True,
    )
    assert done.returncode == answer, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
