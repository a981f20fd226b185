import json

import command


def test_pipeline_measures_both_sides(tmp_path):
    arguments = ("pipeline", "steps=3", "rounds=2", "output=found.json", *command.TINY)
    done = command.run("scripts/benchmark.py", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["rounds"] == 2
    assert all(found[part][kind] > 0 for part in ("bare", "pipeline", "ratio") for kind in ("wall", "cpu"))
    assert found["environment"]["versions"]["torch"]


def test_decoding_writes_the_same_with_and_without_cache(finished, tmp_path):
    arguments = ("decoding", f"run={finished}", "sentences=30", "output=found.json")
    done = command.run("scripts/benchmark.py", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["same_sentences"] is True
    assert found["sentences"] >= 30
