"""resume= goes on in a run's folder with that run's config; what is not a run's folder is refused."""

import json
from pathlib import Path

import pytest


def ran(answer):
    assert answer["code"] == 0, answer["err"]
    return json.loads(answer["out"].split("RAN ")[1].splitlines()[0])


def finish(folder, status="finished"):
    (Path(folder) / "metrics.json").write_text(json.dumps({"status": status}))


def test_folder_goes_on_with_its_own_config(project, launched):
    first = ran(launched(project, ["attention=sliding_window", "attention.window=7", "seed=3"])[0])
    folder = Path(first["folder"])
    before = (folder / ".hydra" / "overrides.yaml").read_text()
    text = f"resume={folder.relative_to(project)}"
    (plain, changed, shown) = launched(project, [text], [text, "seed=5"], ["--cfg", "job", text])
    assert ran(plain) == {"folder": str(folder), "seed": 3, "resume": str(folder)}
    assert ran(changed)["seed"] == 5
    assert "window: 7" in shown["out"]
    assert (folder / ".hydra" / "overrides.yaml").read_text() == before
    assert {path.name for path in (folder / ".hydra").glob("resumed_*")} == {"resumed_1", "resumed_2"}
    assert (folder / "train.log").read_text().count("seed 3") == 2


def test_resumed_run_keeps_its_groups_and_is_checked(project, launched):
    folder = ran(launched(project, [])[0])["folder"]
    group, kind, key, sweep = launched(
        project,
        [f"resume={folder}", "attention=sliding_window"],
        [f"resume={folder}", "optimizer.lr=fast"],
        [f"resume={folder}", "optimizer.lrr=1"],
        ["-m", f"resume={folder}", "seed=1,2"],
    )
    assert "keeps its attention: leave out attention=sliding_window" in group["err"]
    assert "optimizer.lr must be a number" in kind["err"]
    assert "Did you mean optimizer.lr?" in key["err"]
    assert "leave out -m" in sweep["err"]
    assert all(answer["code"] == 1 and "Traceback" not in answer["err"] for answer in (group, kind, key, sweep))


def test_auto_finds_the_unfinished_run_of_the_same_command(project, launched):
    first = ran(launched(project, ["attention=sliding_window", "seed=3"])[0])
    other, again = launched(project, ["seed=4", "resume=auto"], ["resume=auto", "seed=3", "attention=sliding_window"])
    assert ran(other)["resume"] is None
    assert "a new one starts" in other["out"]
    assert ran(again) == {"folder": first["folder"], "seed": 3, "resume": first["folder"]}


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_auto_takes_up_what_did_not_finish(project, launched, status):
    first = ran(launched(project, ["seed=3"])[0])
    finish(first["folder"], status)
    assert ran(launched(project, ["seed=3", "resume=auto"])[0])["resume"] == first["folder"]


def test_auto_leaves_finished_runs_alone(project, launched):
    first = ran(launched(project, ["seed=3", "paths.outputs=elsewhere"])[0])
    assert "elsewhere" in first["folder"]
    unfinished = ["seed=3", "paths.outputs=elsewhere", "resume=auto"]
    assert ran(launched(project, unfinished)[0])["resume"] == first["folder"]
    finish(first["folder"])
    assert ran(launched(project, unfinished)[0])["resume"] is None


def test_other_processes_of_a_run_choose_as_the_first_did(project, launched):
    """They are started when the first one's folder looks like an unfinished run of the same command."""
    first = ran(launched(project, ["seed=3"])[0])
    (new,) = launched(project, ["seed=3", "resume=auto"], LOCAL_RANK="1", MANYHEADS_RESUME="")
    (same,) = launched(project, ["seed=9", "resume=auto"], LOCAL_RANK="1", MANYHEADS_RESUME=first["folder"])
    assert ran(new)["resume"] is None
    assert ran(same)["resume"] == first["folder"]


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
    from manyheads.config.resume import run_config
    from manyheads.errors import UserError

    (tmp_path / "config.yaml").write_text(config)
    with pytest.raises(UserError, match="config") as refused:
        run_config(tmp_path)
    assert words in str(refused.value)


def test_not_a_runs_folder(tmp_path):
    from manyheads.config.resume import run_folder
    from manyheads.errors import UserError

    for words in ("no config.yaml", "neither metrics.json nor checkpoints/"):
        with pytest.raises(UserError, match=words):
            run_folder(tmp_path)
        (tmp_path / "config.yaml").touch()
    (tmp_path / "checkpoints").mkdir()
    assert run_folder(tmp_path) == tmp_path
