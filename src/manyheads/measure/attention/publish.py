"""attention.md, attention.json, attention.png and .svg of a folder's rows."""

import json
import time
from dataclasses import asdict
from pathlib import Path

from manyheads import atomic
from manyheads.measure.attention.case import Settings
from manyheads.measure.attention.plot import plot
from manyheads.measure.attention.store import Row
from manyheads.measure.attention.table import compared, markdown
from manyheads.training import record


def publish(folder: Path, settings: Settings, rows: list[Row], left: int) -> None:
    """Writes the files anew; a figure only where something was timed."""
    compared(rows)
    about = {
        "date": time.strftime("%Y-%m-%d"),
        "left": left,
        "settings": asdict(settings),
        "environment": record.environment(),
    }
    atomic.write_text(folder / "attention.json", json.dumps({**about, "rows": rows}, indent=1) + "\n")
    atomic.write_text(folder / "attention.md", markdown(about, rows))
    plot(folder, rows)
    print(f"{folder / 'attention.md'}", flush=True)
