"""A project whose runs take no time: a conf tree with manyheads' own sweeps, and a script that keeps a run's promises
(config.yaml, metrics.json, checkpoints/) and computes nothing."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

from manyheads.config.places import conf_folder

FILES = {
    "conf/train.yaml": """
        defaults: [schema, _self_, {attention: dense}, {paths: default}, {hydra: default}, {hparams_search: null}]
        seed: 1
        train: true
        test: true
        optimized_metric: null
        estimate: false
        force: false
        compile: false
        activation_checkpointing: false
        sweep: {jobs: null}
        position: null
        model: null
        optimizer: {_target_: things.Step, lr: 0.1, layers: 2}
        data: {_target_: things.Data, seconds: 0.0, fails: [], dies: [], deaf: false}
        task: {_target_: things.Task, monitor: val/loss, mode: min}
        trainer: {_target_: things.Trainer, accelerator: cpu, devices: 1}
        """,
    "conf/paths/default.yaml": "outputs: outputs",
    "conf/attention/dense.yaml": "{_target_: things.Attention}",
    "conf/attention/linear.yaml": "{_target_: things.Attention}",
    "conf/hparams_search/optuna.yaml": """
        # @package _global_
        defaults: [override /hydra/sweeper: optuna]
        optimized_metric: ${task.monitor}
        """,
    "things.py": """
        class Step:
            def __init__(self, lr: float, layers: int): ...

        class Data:
            def __init__(self, seconds: float, fails: list[int], dies: list[int], deaf: bool): ...

        class Task:
            def __init__(self, monitor: str, mode: str): ...

        class Trainer:
            def __init__(self, accelerator: str, devices: int | str): ...

        class Attention: ...
        """,
    "train.py": """
        import contextlib, io, json, os, signal, sys, time
        from pathlib import Path
        from hydra.core.hydra_config import HydraConfig
        from omegaconf import OmegaConf
        from manyheads import atomic
        from manyheads.config.launch import launch
        from manyheads.errors import UserError
        from manyheads.training.lock import lock

        def task(cfg):
            folder = Path(HydraConfig.get().runtime.output_dir)
            held = lock(folder, new=cfg.resume is None)
            def close(status, reason=None, objective=None):
                found = {"status": status, "reason": reason, "objective": objective, "pid": os.getpid(),
                         "resumed": cfg.resume is not None, "environment": dict(os.environ), "argv": sys.argv[1:]}
                # A signal may come in between, whose own word is then the last.
                atomic.write_text(folder / "metrics.json", json.dumps(found))
            def stop(number, frame):
                close("interrupted", signal.Signals(number).name)
                sys.exit(128 + number)
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN if cfg.data.deaf and not cfg.resume else stop)
            OmegaConf.save(OmegaConf.create(OmegaConf.to_container(cfg, resolve=True)), folder / "config.yaml")
            close("running")
            print("seed", cfg.seed, "begins", flush=True)
            if cfg.seed in cfg.data.dies:
                os.kill(os.getpid(), signal.SIGKILL)
            if cfg.seed in cfg.data.fails:
                close("failed", f"the seed {cfg.seed} fails")
                raise UserError(f"the seed {cfg.seed} fails")
            loss = (cfg.optimizer.lr - 0.3) ** 2 + cfg.optimizer.layers
            if not pruned(loss, close):
                time.sleep(0 if cfg.resume or cfg.seed == 3 else cfg.data.seconds)
                several = OmegaConf.is_list(cfg.optimized_metric)
                close("finished", objective=[loss, -loss] if several else loss)

        def pruned(loss, close):
            if "MANYHEADS_TRIAL" not in os.environ:
                return False
            import optuna
            from manyheads.sweep.storage import opened
            told = json.loads(os.environ["MANYHEADS_TRIAL"])
            study = opened(told["storage"], told["study"])
            found = [t for t in study.trials if t.number == told["number"]][0]
            trial = optuna.Trial(study, found._trial_id)
            if len(study.directions) > 1:
                return False
            for step in (1, 2, 3):
                trial.report(loss, step)
                if trial.should_prune():
                    close("pruned", "hopeless")
                    return True

        def main(argv):
            conf = [] if "--config-path" in argv else ["--config-path", str(Path(__file__).parent / "conf")]
            return launch(task, [*conf, *argv])

        if not sys.argv[1].startswith("["):
            sys.exit(main(sys.argv[1:]))
        answers = []
        for argv in json.loads(sys.argv[1]):
            err = io.StringIO()
            with contextlib.redirect_stderr(err):
                answers.append((main(argv), err.getvalue()))
        print(json.dumps(answers))
        """,
}


def plant(folder: Path) -> Path:
    """Writes the project; launchers, sweepers and samplers are those of manyheads."""
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).lstrip("\n"), encoding="utf-8")
    shutil.copytree(conf_folder() / "hydra", folder / "conf" / "hydra")
    default = folder / "conf" / "hydra" / "default.yaml"
    named = [line for line in default.read_text().splitlines() if "layers_attention" not in line]
    default.write_text("\n".join(named).replace("run:", "run:\n  dir: ${paths.outputs}/${unique:}"))
    return folder


def start(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen:
    """The project's train.py, as a user types it."""
    return subprocess.Popen(
        [sys.executable, "train.py", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder: Path, *arguments: str, **environment: str) -> tuple[int, str, str]:
    """Exit code, output and error output of the project's train.py."""
    started = start(folder, *arguments, **environment)
    out, err = started.communicate(timeout=300)
    return started.returncode, out, err


def answers(folder: Path, *commands: tuple[str, ...], **environment: str) -> list[tuple[int, str]]:
    """Exit code and error output of several commands that one process runs, which saves starting it for each."""
    code, out, err = run(folder, json.dumps(commands), **environment)
    assert code == 0, err
    return json.loads(out.splitlines()[-1])


def metrics(sweep: Path) -> dict[int, dict]:
    """metrics.json of each job."""
    found = {int(path.parent.name): path for path in sweep.glob("[0-9]*/metrics.json")}
    return {number: json.loads(found[number].read_text()) for number in sorted(found)}


def wait_for(path: Path, seconds: float = 60) -> None:
    """Until the file is there."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not come"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]
    except FileNotFoundError:
        return False
