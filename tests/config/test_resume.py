"""resume= goes on in a run's folder with that run's config; what is not a run's folder is refused."""

import json
from pathlib import Path

import pytest

from manyheads.config.resume import run_config, run_folder
from manyheads.errors import UserError

CONFIG = """
    seed: 3
    train: true
    test: true
    position: null
    model: null
    task: null
    trainer: null
    paths: {outputs: outputs}
    attention: {_target_: things.Window, _partial_: true, kernel: sdpa, scale: null, window: 7}
    data: {_target_: things.Data, path: null, sizes: [1, 2], seed: 3}
    optimizer: {_target_: things.Step, _partial_: true, lr: 0.1, betas: [0.9, 0.98]}
    """


@pytest.fixture
def run(project, planted):
    """Writes a run's folder below outputs/, as a run that was cut off leaves it."""

    def write(name="toy/first", status=None, overrides='["seed=3", "attention=sliding_window"]', outputs="outputs"):
        folder = f"{outputs}/{name}"
        files = {"config.yaml": CONFIG, "overrides.yaml": overrides, ".hydra/overrides.yaml": "first"}
        planted(project, {f"{folder}/{file}": text for file, text in files.items()})
        (project / folder / "checkpoints").mkdir()
        if status:
            planted(project, {f"{folder}/metrics.json": json.dumps({"status": status})})
        return str(project / folder)

    return write


def told(answer):
    assert answer["code"] == 0, answer["err"]
    return json.loads(answer["out"].split("RAN ")[1].splitlines()[0])


COMMAND = ["resume=auto", "attention=sliding_window", "seed=3"]


def test_folder_goes_on_with_its_own_config(project, run, launched):
    folder = run()
    text = "resume=outputs/toy/first"
    plain, changed, shown = launched(project, [text], [text, "seed=5"], ["--cfg", "job", text])
    assert told(plain) == {"folder": folder, "seed": 3, "resume": folder}
    assert told(changed)["seed"] == 5
    assert "window: 7" in shown["out"]
    hydras = Path(folder, ".hydra")
    assert (hydras / "overrides.yaml").read_text() == "first"
    assert {path.name for path in hydras.glob("resumed_*")} == {"resumed_1", "resumed_2"}
    assert [line[-6:] for line in Path(folder, "train.log").read_text().splitlines()] == ["seed 3", "seed 5"]


def test_resumed_run_keeps_its_groups_and_is_checked(project, run, launched):
    text = f"resume={run()}"
    group, kind, key, sweep = launched(
        project,
        [text, "attention=dense"],
        [text, "optimizer.lr=fast"],
        [text, "optimizer.lrr=1"],
        ["-m", text, "seed=1,2"],
    )
    assert "keeps its attention: leave out attention=dense" in group["err"]
    assert "optimizer.lr must be a number" in kind["err"]
    assert "Did you mean optimizer.lr?" in key["err"]
    assert "leave out -m" in sweep["err"]
    assert all(answer["code"] == 1 and "Traceback" not in answer["err"] for answer in (group, kind, key, sweep))


def test_auto_finds_the_unfinished_run_of_the_same_command(project, run, launched):
    folder = run()
    found, other, off = launched(project, COMMAND, ["seed=4", "resume=auto"], ["seed=3", "resume=null"])
    assert told(found) == {"folder": folder, "seed": 3, "resume": folder}
    assert told(other)["resume"] is None
    assert "a new one starts" in other["out"]
    assert told(off)["resume"] is None


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_auto_takes_up_the_newest_that_did_not_finish(project, run, launched, status):
    run("toy/older", status)
    newest = run("toy/newer", status)
    assert told(launched(project, COMMAND)[0])["resume"] == newest


def test_auto_leaves_finished_runs_alone(project, run, launched):
    run(status="finished")
    elsewhere = run(overrides='["seed=3", "paths.outputs=elsewhere"]', outputs="elsewhere")
    done, moved = launched(project, COMMAND, ["seed=3", "paths.outputs=elsewhere", "resume=auto"])
    assert told(done)["resume"] is None
    assert told(moved)["resume"] == elsewhere


def test_other_processes_of_a_run_choose_as_the_first_did(project, run, launched):
    """They are started when the first one's folder looks like an unfinished run of the same command."""
    folder = run()
    (new,) = launched(project, COMMAND, LOCAL_RANK="1", MANYHEADS_RESUME="")
    (same,) = launched(project, ["seed=9", "resume=auto"], LOCAL_RANK="1", MANYHEADS_RESUME=folder)
    assert told(new)["resume"] is None
    assert told(same)["resume"] == folder


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("seed: ${oc.env:HOME}", "interpolation ${oc.env:HOME}"),
        ("data: {sizes: [1, '${oc.env:HOME}']}", "interpolation"),
        ("{defaults: [attention: dense], seed: 1}", "key defaults"),
        ("{hydra: {run: {dir: /tmp}}, seed: 1}", "key hydra"),
        ("- 1", "holds no keys"),
        ("a: b: c", "cannot be read"),
    ],
)
def test_a_strangers_config_runs_nothing(tmp_path, config, words):
    (tmp_path / "config.yaml").write_text(config)
    with pytest.raises(UserError, match="config") as refused:
        run_config(tmp_path)
    assert words in str(refused.value)


def test_not_a_runs_folder(tmp_path):
    for words in ("no config.yaml", "neither metrics.json nor checkpoints/"):
        with pytest.raises(UserError, match=words):
            run_folder(tmp_path)
        (tmp_path / "config.yaml").touch()
    (tmp_path / "checkpoints").mkdir()
    assert run_folder(tmp_path) == tmp_path
