"""metrics.csv of a run that goes on: Lightning's own logger throws away what was written before."""

import csv
import io
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.loggers.logger import rank_zero_experiment

from manyheads import atomic


class Csv(CSVLogger):
    """One row per logged step, in one file, however often the run was resumed."""

    def __init__(self, save_dir: str, name: str, version: str, flush_logs_every_n_steps: int) -> None:
        super().__init__(save_dir, name, version, flush_logs_every_n_steps=flush_logs_every_n_steps)

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        if self._experiment is None:
            self._experiment = Writer(self.log_dir)
        return self._experiment


class Writer(ExperimentWriter):
    """Appends to the rows that are there, but for those of steps that were lost and are taken again."""

    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        self._path, self._goes_on = Path(self.metrics_file_path), False

    def _check_log_dir_exists(self) -> None:
        """Nothing is thrown away."""

    def log_metrics(self, metrics_dict: dict[str, Any], step: int | None = None) -> None:
        if step is not None and not self._goes_on:
            self._goes_on = True
            self._rewind(step)
        super().log_metrics(metrics_dict, step)

    def _rewind(self, step: int) -> None:
        if self._path.exists():
            self.metrics_keys, rows = self._read()
            self._write(self.metrics_keys, [row for row in rows if int(row["step"]) < step])

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        self._write(fieldnames, self._read()[1])

    def _read(self) -> tuple[list[str], list[dict[str, str]]]:
        # A row without an end was cut off by whatever killed the run.
        reader = csv.DictReader(io.StringIO(self._path.read_text("utf-8").rpartition("\n")[0]))
        return list(reader.fieldnames or []), list(reader)

    def _write(self, names: list[str], rows: list[dict[str, str]]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, names)
        writer.writeheader()
        writer.writerows(rows)
        atomic.write_text(self._path, text.getvalue())
