"""results.jsonl: one line per finished case, so that a call that was cut off goes on where it stopped."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from manyheads.errors import UserError
from manyheads.measure.attention.case import Case, Settings

Row = dict[str, Any]

FINAL = ("done", "refused")
"""What is not tried again; `skipped` depends on limits, `failed` on whether one asks for it."""


class Store:
    """The rows of a folder, the newest of each case. The first line holds the settings that all of them share."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.path = folder / "results.jsonl"
        self.rows: dict[str, Row] = {}
        folder.mkdir(parents=True, exist_ok=True)
        lines = self._lines()
        if not lines:
            self._append({"settings": asdict(settings)})
        elif different := _different(lines[0].get("settings", {}), asdict(settings)):
            raise UserError(f"{folder} holds measurements with {different}; name another folder by output=.")
        for row in lines[1:]:
            self.rows[row["key"]] = row

    def finished(self, case: Case, retry: bool) -> bool:
        status = self.rows.get(case.key, {}).get("status")
        return status in FINAL or (status == "failed" and not retry)

    def add(self, row: Row) -> None:
        self.rows[row["key"]] = row
        self._append(row)

    def _lines(self) -> list[Row]:
        if not self.path.exists():
            return []
        found = []
        for line in self.path.read_text("utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:
                # The last line of a process that was killed while it wrote; its case is measured again.
                continue
        return found

    def _append(self, row: Row) -> None:
        broken = self.path.exists() and not self.path.read_bytes().endswith(b"\n") and self.path.stat().st_size > 0
        with self.path.open("a", encoding="utf-8") as file:
            file.write(("\n" if broken else "") + json.dumps(row) + "\n")


def _different(before: Row, now: Row) -> str:
    return ", ".join(
        f"{key}={before.get(key)} (asked: {value})" for key, value in now.items() if before.get(key) != value
    )
