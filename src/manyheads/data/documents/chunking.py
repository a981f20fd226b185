"""Where a long text is cut: every token is in some chunk, and each chunk begins with the end of the one before.

Source: stride and overlap as in sliding-window reading for question answering (Devlin et al. 2019, BERT on SQuAD).
"""

import re

import numpy as np
from jaxtyping import Int

# What ends a sentence: a full stop with what closes it, or an empty line. Headings and list items end at a line's end.
SENTENCE = re.compile(r"[.!?]+[\"')\]”’]*(?=\s)|\n+")


def cut(tokens: int, room: int, overlap: int, ends: np.ndarray | None = None) -> Int[np.ndarray, "chunks 2"]:
    """Spans (begin, end) over `tokens` tokens, each of at most `room`; neighbours share at most `overlap`.

    Every span but the first has a token that the one before has not. Without `ends`, all spans but the last are `room`
    long and share exactly `overlap`. ends: places, ascending, at which a sentence has ended; spans then end at one of
    them where one lies in their second half, and begin at one where one lies in the overlap.
    An empty text is one empty span. overlap < room is the caller's duty.
    """
    spans = [(0, _end(0, tokens, room, ends))]
    while spans[-1][1] < tokens:
        begin = _begin(spans[-1][1], overlap, ends)
        spans.append((begin, _end(begin, tokens, room, ends, spans[-1][1])))
    return np.array(spans, np.int64)


def sentence_ends(text: str) -> Int[np.ndarray, "sentences"]:
    """Characters behind the last of each sentence, ascending."""
    return np.fromiter((found.end() for found in SENTENCE.finditer(text)), np.int64)


def _end(begin: int, tokens: int, room: int, ends: np.ndarray | None, seen: int = 0) -> int:
    """Sentences end a chunk in its second half alone: shorter ones would multiply the chunks of a text."""
    furthest = begin + room
    if ends is None or furthest >= tokens:
        return min(furthest, tokens)
    last = int(np.searchsorted(ends, furthest, "right")) - 1
    return int(ends[last]) if last >= 0 and ends[last] > max(seen, begin + room // 2) else furthest


def _begin(end: int, overlap: int, ends: np.ndarray | None) -> int:
    earliest = max(0, end - overlap)
    if ends is None or not overlap:
        return earliest
    first = int(np.searchsorted(ends, earliest, "left"))
    return int(ends[first]) if first < len(ends) and ends[first] < end else earliest
