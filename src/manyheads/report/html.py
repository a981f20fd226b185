"""report.html: one file that needs no other and no network."""

from html import escape
from importlib.resources import files

from manyheads.report import figures, svg, tables
from manyheads.report.content import Content, Part
from manyheads.report.tables import Cell, Table

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
"""Browsers fetch nothing for this page, whatever a name in it may look like."""


def page(content: Content) -> str:
    style, script = (
        files("manyheads.report").joinpath("page", name).read_text("utf-8") for name in ("style.css", "script.js")
    )
    head = [
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<link rel="icon" href="data:,">',
        f"<title>Report: {escape(content.root)}</title>",
        f"<style>{style}</style>",
    ]
    body = [_top(content), *(_part(part, number) for number, part in enumerate(content.parts)), _rest(content)]
    inside = f'<main>{"".join(body)}</main><div id="tip" role="status" hidden></div><script>{script}</script>'
    return f'<!doctype html>\n<html lang="en"><head>{"".join(head)}</head><body>{inside}</body></html>\n'


def _top(content: Content) -> str:
    lines = [f"<h1>Which attention?</h1>{_p(f'{content.counted} · {content.root}', 'soft')}"]
    for number, part in enumerate(content.parts):
        # Of one section the whole answer; of several the way to theirs.
        said = _p(part.words.take) + (_p(part.words.sure) if len(content.parts) == 1 else "")
        where = "" if len(content.parts) == 1 else f'<p><a href="#part{number}">{escape(part.section.title)}</a></p>'
        lines.append(f'<div class="card answer">{said}{where}</div>')
    lines += [_table(tables.unfinished(content.unreadable))] if content.unreadable else []
    return f"<header>{''.join(lines)}</header>"


def _part(part: Part, number: int) -> str:
    section = part.section
    inside = [f'<h2 id="part{number}">{escape(section.title)}</h2>']
    inside += [_p(warning, "card warning") for warning in part.words.warnings]
    if section.quality:
        inside += [_table(tables.groups(section)), _legend(part)]
        inside.append(f'<div class="figures">{"".join(figures.all_of(section))}</div>')
    if section.comparisons if section.quality else ():
        inside.append(_table(tables.comparisons(section)))
    inside += [_table(tables.runs(section)), _commands(part)]
    left = [run for run in section.runs if not run.finished]
    inside += [_table(tables.unfinished(left))] if left else []
    inside.append("<h3>In words</h3>")
    said = "".join(map(_p, (part.words.take, part.words.sure, part.words.surer)))
    return f'<section>{"".join(inside)}<div class="card answer">{said}</div></section>'


def _legend(part: Part) -> str:
    """Buttons that take a group out of the figures."""
    names = [(figures.number_of(part.section, label), label) for label in part.section.quality]
    buttons = [
        f'<button type="button" class="{svg.colour(n)}" value="{n}" aria-pressed="true">{escape(label)}</button>'
        for n, label in names
    ]
    return f'<div class="legend" role="group" aria-label="shown in the figures">{"".join(buttons)}</div>'


def _commands(part: Part) -> str:
    told = [run for run in part.section.runs if run.command]
    if not told:
        return ""
    lines = "".join(f"<p>{escape(run.name)}</p><pre>{escape(run.command)}</pre>" for run in told)
    return f"<details><summary>The command of each run</summary>{lines}</details>"


def _rest(content: Content) -> str:
    machines = f" Measured on {', '.join(content.machines)}." if content.machines else ""
    return f"<footer>{_p(f'Every number is from the folders of the runs alone.{machines}')}</footer>"


def _table(table: Table) -> str:
    columns = zip(table.headings, _wordy(table), strict=True)
    heads = "".join(f'<th scope="col"{kind}><button type="button">{escape(one)}</button></th>' for one, kind in columns)
    rows = "".join(_row(row, table.key) for row in table.rows)
    note = _p(table.note, "note") if table.note else ""
    inside = f'<table class="sorts"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
    scrolled = f'<div class="table" tabindex="0" role="region" aria-label="{escape(table.title)}">{inside}</div>'
    return f"<h3>{escape(table.title)}</h3>{scrolled}{note}"


def _row(row: tuple[Cell, ...], key: str | None) -> str:
    first, *others = row
    kind = ' class="key"' if key is not None and first.text == key else ""
    return f'<tr{kind}><th scope="row">{_broken(_cell(first))}</th>{"".join(map(_other, others))}</tr>'


def _broken(name: str) -> str:
    """Names of runs and attentions may be long: on a phone they break where a reader would."""
    return name.replace("_", "_<wbr>")


def _other(cell: Cell) -> str:
    value = "" if cell.value is None else f' data-value="{cell.value!r}"'
    kind = f' class="words{" long" if len(cell.text) > 40 else ""}"' if _is_word(cell) else ""
    return f"<td{kind}{value}>{_cell(cell)}</td>"


def _is_word(cell: Cell) -> bool:
    return cell.value is None and cell.text != tables.NOTHING and cell.text[:1].isalpha()


def _wordy(table: Table) -> list[str]:
    """The class of each heading: as its column stands."""
    columns = zip(*table.rows, strict=True) if table.rows else [()] * len(table.headings)
    return [' class="words"' if any(map(_is_word, column)) else "" for column in columns]


def _cell(cell: Cell) -> str:
    marks = cell.note.split(", ") if cell.note else []
    tags = [f'<span class="tag {escape(mark)}">{escape(mark)}</span>' for mark in marks]
    return escape(cell.text) + (f'<div class="tags">{" · ".join(tags)}</div>' if tags else "")


def _p(words: str, kind: str = "") -> str:
    return f"<p{f' class={chr(34)}{kind}{chr(34)}' if kind else ''}>{escape(words)}</p>"
