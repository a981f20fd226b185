"""metrics.csv of a run that was killed and resumed is that of one that never stopped."""

import csv
from pathlib import Path

from manyheads.training.csv_log import Csv


def logger(folder: Path) -> Csv:
    return Csv(save_dir=str(folder), name="csv", version="", flush_logs_every_n_steps=1)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "csv" / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def steps(folder: Path, first: int, last: int) -> None:
    made = logger(folder)
    for step in range(first, last):
        made.log_metrics({"train/loss": 1 / (step + 1)}, step)
        if step % 3 == 2:
            made.log_metrics({"val/loss": 2 / (step + 1)}, step)


def test_lost_steps_stand_there_once(tmp_path: Path) -> None:
    steps(tmp_path / "whole", 0, 12)
    steps(tmp_path / "resumed", 0, 9)
    steps(tmp_path / "resumed", 6, 12)  # from the last checkpoint
    assert rows(tmp_path / "resumed") == rows(tmp_path / "whole")


def test_a_row_that_was_cut_off_goes(tmp_path: Path) -> None:
    steps(tmp_path / "whole", 0, 12)
    steps(tmp_path / "resumed", 0, 8)
    with (tmp_path / "resumed" / "csv" / "metrics.csv").open("a") as file:
        file.write("8,0.1")
    steps(tmp_path / "resumed", 8, 12)
    assert rows(tmp_path / "resumed") == rows(tmp_path / "whole")


def test_metrics_that_come_later_get_a_column(tmp_path: Path) -> None:
    steps(tmp_path, 0, 4)
    logger(tmp_path).log_metrics({"test/loss": 0.5}, 4)
    assert rows(tmp_path)[-1] == {"step": "4", "test/loss": "0.5", "train/loss": "", "val/loss": ""}
    assert [row["step"] for row in rows(tmp_path)] == ["0", "1", "2", "2", "3", "4"]
