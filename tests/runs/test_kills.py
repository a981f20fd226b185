"""SIGKILL at random moments, of runs and of sweeps: what they come to is what they would have come to."""

import json
import random
import subprocess
import sys
import time

import command
import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("more", [("kills=10", "terms=3", "epochs=4"), ("kills=2", "epochs=2", "processes=true")])
def test_a_run_killed_at_random_moments_ends_as_the_undisturbed_one(tmp_path, more):
    script = [sys.executable, str(command.REPOSITORY / "scripts" / "kill_and_resume.py")]
    done = subprocess.run(
        [*script, f"folder={tmp_path / 'kills'}", *more, "seed=11"],
        env=command.environment(),
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout[done.stdout.index("{\n") :])
    assert told["problems"] == []
    assert told["kills"] == sum(int(word.partition("=")[2]) for word in more if word.startswith(("kills", "terms")))


def test_a_sweep_killed_at_random_moments_ends_as_the_undisturbed_one(tmp_path):
    dice = random.Random(5)
    arguments = ("-m", *command.TINY, "seed=1,2", "trainer.max_epochs=4", "callbacks.last.every=3", "preflight=false")
    whole = command.started("train.py", *arguments, "hydra.sweep.dir=whole", cwd=tmp_path)
    begun = time.monotonic()
    assert whole.wait(300) == 0, whole.communicate()
    seconds = time.monotonic() - begun
    for _ in range(2):
        sweep = command.started("train.py", *arguments, "hydra.sweep.dir=killed", cwd=tmp_path)
        try:
            sweep.wait(dice.uniform(0.2, 0.6) * seconds)
        except subprocess.TimeoutExpired:
            sweep.kill()
        sweep.communicate()
    last = command.started("train.py", *arguments, "hydra.sweep.dir=killed", cwd=tmp_path)
    out, err = last.communicate(timeout=300)
    assert last.returncode == 0, out + err
    for number in ("0", "1"):
        one, other = (command.metrics(tmp_path / name / number) for name in ("whole", "killed"))
        for part in ("status", "seed", "train", "val", "test", "weights"):
            assert one[part] == other[part], (number, part)
    assert sorted(path.name for path in (tmp_path / "killed").iterdir() if path.is_dir() and path.name.isdigit()) == [
        "0",
        "1",
    ]
    assert not list(tmp_path.rglob("*.partial"))
