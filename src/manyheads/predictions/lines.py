"""Text files that are read line by line."""

import sys
from pathlib import Path

from manyheads.errors import UserError


def read_lines(name: str) -> list[str]:
    """The lines of a file or of standard input (-); a UserError says which line is not UTF-8."""
    try:
        content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as problem:
        raise UserError(f"input={name} cannot be read: {problem.strerror}.") from problem
    rows = content.removesuffix(b"\n").split(b"\n") if content else []
    return [_text(name, number, row) for number, row in enumerate(rows, 1)]


def _text(name: str, number: int, row: bytes) -> str:
    try:
        return row.removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError as problem:
        raise UserError(f"{name}, line {number} is not UTF-8; convert the file first.") from problem
