"""A tiny project: a conf tree, the classes it names, and a script that launches a task for many command lines."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

FILES = {
    "conf/train.yaml": """
        defaults:
          - schema
          - _self_
          - attention: dense
          - data: toy
          - paths: default
          - hydra: default
          - experiment: null
        seed: 1
        train: true
        test: true
        estimate: false
        force: false
        compile: false
        activation_checkpointing: false
        sweep: {jobs: null}
        position: null
        model: null
        task: null
        optimizer: {_target_: things.Step, _partial_: true, lr: 0.1, betas: [0.9, 0.98]}
        trainer: null
        """,
    "conf/paths/default.yaml": "outputs: outputs",
    "conf/hydra/launcher/processes.yaml": """
        _target_: hydra_plugins.manyheads.launchers.ProcessLauncher
        jobs: ${sweep.jobs}
        grace: 20
        """,
    "conf/hydra/default.yaml": """
        defaults: [override launcher: processes]
        run: {dir: "${paths.outputs}/${hydra:runtime.choices.data}/${now:%Y-%m-%d_%H-%M-%S}-${unique:}"}
        sweep: {dir: "${paths.outputs}/multirun/${now:%H-%M-%S}-${unique:}", subdir: "${hydra.job.num}"}
        job_logging: {handlers: {file: {filename: "${hydra.runtime.output_dir}/train.log"}}}
        """,
    "conf/attention/dense.yaml": "{_target_: things.Softmax, _partial_: true, kernel: sdpa, scale: null}",
    "conf/attention/sliding_window.yaml": """
        defaults: [dense, _self_]
        _target_: things.Window
        window: 4
        """,
    "conf/data/toy.yaml": "{_target_: things.Data, path: null, sizes: [1, 2], seed: '${seed}'}",
    "conf/data/other.yaml": '{_target_: things.Data, path: "???", sizes: [1, 2], seed: "${seed}"}',
    "conf/data/broken.yaml": "a: b: c",
    "conf/experiment/stale.yaml": """
        # @package _global_
        optimizer: {momentum: 0.9}
        """,
    "conf/experiment/strange.yaml": """
        # @package _global_
        sed: 2
        """,
    "things.py": """
        from typing import Literal

        class Softmax:
            def __init__(self, heads: int, kernel: Literal["sdpa", "flash"], scale: float | None): ...

        class Window(Softmax):
            def __init__(self, window: int, **kwargs): ...

        class Data:
            def __init__(self, path: str | None, sizes: list[int], seed: int): ...

        class Step:
            def __init__(self, params, lr: float, betas: tuple[float, float] = (0.9, 0.999)): ...
        """,
    "launches.py": """
        import contextlib, io, json, sys
        from pathlib import Path

        def task(cfg):
            import logging
            from hydra.core.hydra_config import HydraConfig
            from omegaconf import OmegaConf
            from manyheads.errors import UserError

            folder = Path(HydraConfig.get().runtime.output_dir)
            logging.getLogger("task").info("seed %s", cfg.seed)
            if cfg.seed == 13:
                raise UserError("the seed 13 brings bad luck: take another.")
            if cfg.seed == 14:
                raise ValueError("a fault of the program")
            if not (folder / "config.yaml").exists():
                OmegaConf.save(OmegaConf.create(OmegaConf.to_container(cfg, resolve=True)), folder / "config.yaml")
                OmegaConf.save(HydraConfig.get().overrides.task, folder / "overrides.yaml")
            (folder / "checkpoints").mkdir(exist_ok=True)
            print("RAN " + json.dumps({"folder": str(folder), "seed": cfg.seed, "resume": cfg.resume}))

        from manyheads.config.launch import launch

        if not sys.argv[1].startswith("["):  # a job of a sweep
            sys.exit(launch(task))
        results = []
        for argv in json.loads(sys.argv[1]):
            out, err = io.StringIO(), io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = launch(task, ["--config-path", str(Path(__file__).parent / "conf"), *argv])
            told = {"out": out.getvalue(), "err": err.getvalue()}
            results.append({"code": code, "torch": "torch" in sys.modules, **told})
        print(json.dumps(results))
        """,
}


def plant(folder: Path, files: dict[str, str]) -> Path:
    """Writes files, their common indentation removed."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).lstrip("\n"), encoding="utf-8")
    return folder


def launches(folder: Path, *commands: list[str], **environment: str) -> list[dict[str, Any]]:
    """What each command line printed and its exit code, all launched by one new process."""
    done = subprocess.run(
        [sys.executable, "launches.py", json.dumps(commands)],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return plant(tmp_path, FILES)


@pytest.fixture(scope="module")
def shared_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant(tmp_path_factory.mktemp("project"), FILES)


@pytest.fixture(scope="module")
def launched() -> Callable[..., list[dict[str, Any]]]:
    return launches


@pytest.fixture
def planted() -> Callable[[Path, dict[str, str]], Path]:
    return plant
