"""report.md: the same tables and sentences for a pull request or a notebook."""

from manyheads.report import tables
from manyheads.report.content import Content, Part
from manyheads.report.tables import Cell, Table


def page(content: Content) -> str:
    blocks = ["# Which attention?", f"{_plain(content.counted)} · `{_code(content.root)}`"]
    blocks += _table(tables.unfinished(content.unreadable)) if content.unreadable else []
    for part in content.parts:
        blocks += _part(part)
    if content.machines:
        blocks.append(f"Measured on {_plain(', '.join(content.machines))}.")
    return "\n\n".join(blocks) + "\n"


def _part(part: Part) -> list[str]:
    section = part.section
    blocks = [f"## {_plain(section.title)}", *(f"> {_plain(warning)}" for warning in part.words.warnings)]
    if section.quality:
        blocks += _table(tables.groups(section))
        blocks += _table(tables.comparisons(section)) if section.comparisons else []
    blocks += _table(tables.runs(section))
    told = [f"- {_plain(run.name)}: `{_code(run.command)}`" for run in section.runs if run.command]
    blocks += ["### Commands", "\n".join(told)] if told else []
    left = [run for run in section.runs if not run.finished]
    blocks += _table(tables.unfinished(left)) if left else []
    words = part.words
    return [*blocks, "### In words", f"**{_plain(words.take)}**", _plain(words.sure), _plain(words.surer)]


def _table(table: Table) -> list[str]:
    heads = " | ".join(map(_plain, table.headings))
    # Words stand left, and numbers right, as far as a column has any.
    columns = list(zip(*table.rows, strict=True)) or [()] * len(table.headings)
    signs = ["---" if all(cell.value is None for cell in column) else "--:" for column in columns]
    rows = [f"| {' | '.join(map(_cell, row))} |" for row in table.rows]
    whole = "\n".join([f"| {heads} |", f"|{'|'.join(signs)}|", *rows])
    return [f"### {table.title}", whole, *([_plain(table.note)] if table.note else [])]


def _cell(cell: Cell) -> str:
    return _plain(cell.text) + (f" ({_plain(cell.note)})" if cell.note else "")


def _plain(words: str) -> str:
    """On one line, and nothing in it that markdown would take for its own."""
    found = " ".join(words.split())
    for sign in ("\\", "`", "*", "_", "|", "<", "[", "]"):
        found = found.replace(sign, f"\\{sign}")
    return found


def _code(words: str) -> str:
    return " ".join(words.replace("`", "'").split())
