"""Line-aligned text: line i of `train.en` is the translation of line i of `train.de`. Plain or .gz.

A line ends at \\n and nowhere else: U+2028 and the other characters at which `str.splitlines` cuts occur inside
sentences, and one such cut would shift every pair after it.
"""

import gzip
import zlib
from pathlib import Path

from manyheads.data.pairs import Raw
from manyheads.errors import UserError

BOM = b"\xef\xbb\xbf"


def is_folder_of_lines(folder: Path, suffixes: tuple[str, str]) -> bool:
    """Whether any file of the folder ends in one of the two languages."""
    return any(_stem(file, suffix) for file in folder.iterdir() for suffix in suffixes)


def read_folder(folder: Path, suffixes: tuple[str, str], wanted) -> dict[str, Raw]:
    """File stem -> its pairs, for every stem that `wanted(stem)` names.

    Raises UserError where a file has no partner, where two files differ in length, or where a .gz is damaged.
    """
    found = [_files(folder, suffix) for suffix in suffixes]
    stems = sorted(stem for stem in found[0].keys() | found[1].keys() if wanted(stem))
    for stem in stems:
        _insist_on_partner(folder, stem, found, suffixes)
    return {stem: _read_pair(found[0][stem], found[1][stem]) for stem in stems}


def read_bytes(path: Path) -> bytes:
    """The content of a plain or .gz file, without a byte-order mark. Raises UserError where it cannot be read."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is no whole gzip file ({error}); copy it again, or unpack it.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    return data.removeprefix(BOM)


def split_lines(data: bytes) -> list[bytes]:
    """Lines without their \\n or \\r\\n; a newline at the very end opens no further line."""
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix(b"\r") for line in lines]


def _read_pair(source: Path, target: Path) -> Raw:
    lines = [split_lines(read_bytes(path)) for path in (source, target)]
    if len(lines[0]) != len(lines[1]):
        raise UserError(
            f"{source} has {len(lines[0]):,} lines and {target} {len(lines[1]):,}: line i of one has to be the "
            "translation of line i of the other, so no pair can be trusted; find the missing or extra line."
        )
    unreadable: dict[tuple[int, int], str] = {}
    sides = tuple([_decode(line, (s, row), unreadable) for row, line in enumerate(lines[s])] for s in (0, 1))
    return Raw(sides, (str(source), str(target)), unreadable=unreadable)


def _decode(line: bytes, cell: tuple[int, int], unreadable: dict[tuple[int, int], str]) -> str | None:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        unreadable[cell] = f"is not UTF-8 (byte 0x{line[error.start]:02x} at place {error.start + 1})"
        return None


def _stem(file: Path, suffix: str) -> str | None:
    """`test_2016` of test_2016.en and of test_2016.en.gz."""
    name = file.name.removesuffix(".gz")
    return name.removesuffix(f".{suffix}") if name.endswith(f".{suffix}") and file.is_file() else None


def _files(folder: Path, suffix: str) -> dict[str, Path]:
    """Stem -> file; where both are there, the plain file stands before the .gz."""
    files = sorted(folder.iterdir(), key=lambda file: file.name, reverse=True)
    return {stem: file for file in files if (stem := _stem(file, suffix))}


def _insist_on_partner(folder: Path, stem: str, found: list[dict[str, Path]], suffixes: tuple[str, str]) -> None:
    for mine, other in ((0, 1), (1, 0)):
        if stem not in found[mine]:
            raise UserError(
                f"{found[other][stem]} has no partner: {stem}.{suffixes[mine]} or {stem}.{suffixes[mine]}.gz was "
                f"looked for in {folder}; data.source={suffixes[0]} and data.target={suffixes[1]} name the endings."
            )
