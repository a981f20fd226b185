"""What the guides tell people to type works, on files like those that they describe."""

import csv
import math
import re
import subprocess
import sys
from pathlib import Path

import command as run
import pytest
from guides import DOCS, GPUS, commands, shortened, words

COMMANDS = commands()
NAMES = [f"{guide.removesuffix('.md')}: {command}" for guide, command in COMMANDS]


def test_guides_link_to_what_is_there():
    for guide in DOCS.glob("*.md"):
        for target in re.findall(r"\]\((?!https://)([^)#]+)(?:#[^)]*)?\)", guide.read_text()):
            assert (guide.parent / target).exists(), f"{guide.name} links to {target}"


def test_guides_name_scripts_that_are_there():
    assert len(COMMANDS) > 20
    for _, line in COMMANDS:
        script = words(line)[0]
        assert script == "-m" or (run.REPOSITORY / script).is_file(), line


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the files that the guides speak of."""
    folder = tmp_path_factory.mktemp("guides")
    _write(folder / "notes.csv", ["patient", "diagnosis", "note"], map(_note, range(240)))
    _write(
        folder / "sales.csv",
        ["date", "shop", "price", "sold"],
        (_sale(i, s) for s in ("north", "south") for i in range(1200)),
    )
    for split, count in (("train", 300), ("val", 40), ("test", 40)):
        for side, of in (("en", "a {} walks by the {}"), ("de", "ein {} geht am {} vorbei")):
            _lines(folder / "pairs" / f"{split}.{side}", [of.format(_word(i), _word(i * 7 + 3)) for i in range(count)])
    _lines(folder / "texts" / "train.txt", [f"The {_word(i)} saw a {_word(i * 3 + 1)}.\n" for i in range(900)])
    return folder


@pytest.fixture(scope="module")
def finished(place):
    folder = place / "run"
    done = run.run("train.py", *run.TINY, "model.heads=4", "trainer.max_epochs=1", f"hydra.run.dir={folder}", cwd=place)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pruned(place, finished):
    folder = finished / "pruned" / "TIME"
    asked = (f"run={finished}", "pruning=magnitude", "length=1", f"hydra.run.dir={folder}")
    done = run.run("scripts/prune.py", *asked, cwd=place)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for _, line in COMMANDS], ids=NAMES)
def test_what_a_guide_says_works(line, place, finished, pruned):
    if words(line)[0] == "-m" or "attention=cosine" in line:
        pytest.skip("needs the attention that the guide adds: tests/docs/test_added_attention.py")
    script, *said = shortened(line, finished)
    if any(word in GPUS for word in said):
        said += ["--cfg", "job"]
    done = subprocess.run(
        [sys.executable, str(run.REPOSITORY / script), *said],
        cwd=place,
        env=run.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def _note(i: int) -> list[str]:
    kind = "asthma" if i % 2 else "gout"
    finding = "wheezing at night" if i % 2 else "a red and swollen toe"
    filler = " ".join(_word(i * 31 + j) for j in range(60))
    return [str(i // 2), kind, f"Seen on day {i}. {filler}. Complains of {finding}. {filler}."]


def _sale(i: int, shop: str) -> list[str]:
    price = 2 + (i % 48) / 48
    sold = "" if i == 77 else f"{20 + 5 * math.sin(i / 4) - 3 * price + (shop == 'north'):.3f}"
    return [f"2024-{1 + i // 672:02d}-{1 + i % 672 // 24:02d} {i % 24:02d}:00", shop, f"{price:.2f}", sold]


def _word(i: int) -> str:
    return "".join("bdfgklmnprst"[(i >> s) % 12] + "aeiou"[(i >> s) % 5] for s in (0, 3, 5))


def _lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def _write(path: Path, head: list[str], rows) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head, *rows])
