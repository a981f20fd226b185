"""`python scripts/doctor.py`, as a user types it: lights, exit code, JSON, and nothing left behind."""

import json

import command
import pytest

pytestmark = pytest.mark.slow

QUICK = ("data.pairs=500", "data.vocabulary=300", *command.TINY[3:8], "trainer=cpu")


def asked(*overrides: str, folder) -> tuple[int, dict]:
    done = command.run("scripts/doctor.py", *overrides, "--json", cwd=folder)
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout)


def lights(found: dict) -> dict[str, str]:
    """The worst light of each name."""
    order = ["green", "yellow", "red"]
    worst: dict[str, str] = {}
    for check in found["checks"]:
        worst[check["name"]] = max(worst.get(check["name"], "green"), check["light"], key=order.index)
    return worst


def test_a_sound_run_is_well_and_nothing_is_left(tmp_path):
    code, found = asked(*QUICK, folder=tmp_path)
    assert code == 0, found
    assert found["ok"]
    assert {check["section"] for check in found["checks"]} == {"environment", "config", "data", "model", "speed"}
    names = lights(found)
    assert {"512 tokens", "1,024 tokens", "2,048 tokens", "step", "total", "future", "first batch"} <= set(names)
    total = next(check for check in found["checks"] if check["name"] == "total")
    assert total["details"]["seconds"] > 0
    assert not list(tmp_path.iterdir())


def test_mistakes_of_all_kinds_are_told_at_once(tmp_path):
    typed = ("attention=slidingwindow", "model.dmi=3", "model.heads=5", f"data.path={tmp_path}/nowhere", "train=false")
    typed += ("callbacks.guard.on_fault=skipp", "layers_attention=[dens]", "ckpt_path=away.ckpt")
    code, found = asked(*QUICK[:2], *typed, "trainer.precision=16-mixed", "trainer=cpu", folder=tmp_path)
    assert code == 1
    said = " ".join(check["sentence"] for check in found["checks"] if check["light"] == "red")
    for word in ("sliding_window", "model.dim", "model.heads=5", "nowhere", "16-mixed", "skipp", "dense", "away.ckpt"):
        assert word in said, word
    assert not list(tmp_path.iterdir())


def test_the_table_has_signs_and_a_last_word(tmp_path):
    done = command.run("scripts/doctor.py", *QUICK, "position=learned", "position.limit=600", cwd=tmp_path)
    assert done.returncode == 0
    assert "Nothing is wrong" in done.stdout
    assert "position.limit" in done.stdout, "longer rows than the table of positions has are not measured"
    assert "✓" in done.stdout


def test_what_goes_on_is_none_of_the_doctors(tmp_path):
    done = command.run("scripts/doctor.py", "resume=auto", cwd=tmp_path)
    assert "leave out resume=" in command.refused(done)


def test_a_refusal_is_json_too_where_json_was_asked_for(tmp_path):
    code, found = asked("resume=auto", folder=tmp_path)
    assert code == 1
    assert not found["ok"]
    assert "leave out resume=" in found["checks"][0]["sentence"]
