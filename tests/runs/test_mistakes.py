"""What a user gets wrong is answered in one sentence that says what, where and what to do."""

import shutil
import subprocess

import command
import pytest


def pairs(folder, **files):
    folder.mkdir()
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return f"data.path={folder}"


MANY_EN, MANY_DE = "The dog sleeps.\n" * 40, "Der Hund schläft.\n" * 40


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("attention=dens", ("attention=dens", "dense")),
        ("attention.kv_heads=abc", ("attention.kv_heads", "whole number")),
        ("optimizer.lrr=1", ("optimizer.lrr", "optimizer.lr")),
        ("attention.kv_heads=3", ("attention.kv_heads=3", "1, 2")),
        ("model.dim=15", ("model.dim=15", "model.heads=2")),
        ("data.path=nowhere", ("nowhere",)),
        ("model=encoder_only", ("encoder_only", "encoder_decoder")),
        ("resume=.", ("run's folder", "config.yaml")),
        ("ckpt_path=nowhere.ckpt", ("nowhere.ckpt",)),
        ("position.head_dim=3", ("position.head_dim",)),
        ("data.batch_tokens=10", ("data.batch_tokens",)),
        ("trainer.max_epochs=0", ("trainer.max_epochs=0", "trains nothing")),
        ("trainer.val_check_interval=99999", ("trainer.val_check_interval=99999", "check_val_every_n_epoch=null")),
        ("optimized_metric=val/blue", ("optimized_metric=val/blue", "val/bleu")),
        ("layers_attention=[dens]", ("layers_attention names dens", "dense")),
    ],
)
def test_overrides(override, words, tmp_path):
    tiny = [o for o in command.TINY if "coder_layers" not in o] if "encoder_only" in override else command.TINY
    sentence = command.refused(command.run("train.py", *tiny, override, cwd=tmp_path))
    for word in words:
        assert word in sentence


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"train__en": MANY_EN, "train__de": MANY_DE + "Noch einer.\n"}, ("train.en", "40", "41")),
        ({"train__en": MANY_EN + "caf\xe9\n", "train__de": MANY_DE + "Kaffee\n"}, None),
        ({"train__en": MANY_EN + "\n", "train__de": MANY_DE + "leer\n"}, ("train.en:41", "data.on_bad_row=skip")),
        ({"train__en": MANY_EN}, ("train.de",)),
    ],
)
def test_files(files, words, tmp_path):
    if words is None:
        files = {name: text.encode("latin-1" if name.endswith("en") else "utf-8") for name, text in files.items()}
        words = ("train.en:41", "UTF-8")
    tiny = [o for o in command.TINY if not o.startswith("data.")]
    sentence = command.refused(command.run("train.py", *tiny, pairs(tmp_path / "own", **files), cwd=tmp_path))
    for word in words:
        assert word in sentence


def test_a_sequence_beyond_learned_positions(tmp_path):
    sentence = command.refused(
        command.run("train.py", *command.TINY, "position=learned", "position.limit=5", cwd=tmp_path)
    )
    assert "position.limit=5" in sentence
    assert "position=rope" in sentence


def test_scripts(finished, tmp_path):
    for arguments, word in (
        (["scripts/predict.py", "run=nowhere", "input=-"], "nowhere"),
        (["scripts/predict.py", f"run={finished}", "inptu=-"], "input"),
        (["scripts/predict.py", f"run={finished}", "input=nofile"], "nofile"),
        (["scripts/evaluate.py", f"run={finished}", "path=nofolder"], "nofolder"),
        (["scripts/evaluate.py", f"run={finished}", "width=x"], "width"),
        (["scripts/benchmark.py", "pipelin"], "pipeline"),
    ):
        assert word in command.refused(command.run(*arguments, cwd=tmp_path, stdin=""))


def test_predict_names_the_line_that_is_not_utf8(finished, tmp_path):
    (tmp_path / "in.txt").write_bytes(b"fine\ncaf\xe9\n")
    done = command.run("scripts/predict.py", f"run={finished}", "input=in.txt", cwd=tmp_path)
    assert "in.txt, line 2 is not UTF-8" in command.refused(done)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB, where the machine lets us mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True
    )
    if not mounted or mounted.returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk(small_disk, tmp_path):
    big = ("model.dim=128", "callbacks.last.every=2", f"paths.cache={tmp_path / 'cache'}")
    done = command.run("train.py", *command.TINY, *big, f"hydra.run.dir={small_disk / 'run'}", cwd=tmp_path)
    sentence = command.refused(done)
    assert "disk is full" in sentence or "No space left" in sentence
    assert not list(small_disk.rglob("*.partial"))
