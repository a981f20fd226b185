"""A note without its findings: visit after visit, each with all sections, of as many words as were asked for."""

from random import Random

from manyheads.data.synthetic.notes.sections import HEADER, SECTIONS, Section
from manyheads.data.synthetic.notes.words import WORDS

VISIT = 1500  # Words of a visit at most: longer notes are several visits, as a list of 200 drugs would be no list.
LINE = 10  # Words of a line, about.


class Slots(dict):
    """Fills a slot by drawing from its words, each time anew; n3_9 is a whole number from 3 to 9."""

    def __init__(self, random: Random):
        super().__init__()
        self.random = random

    def __missing__(self, name: str) -> str:
        if name in WORDS:
            return self.filled(self.random.choice(WORDS[name]))
        low, high = name[1:].split("_")
        return str(self.random.randint(int(low), int(high)))

    def filled(self, template: str) -> str:
        return template.format_map(self) if "{" in template else template

    def sentence(self, template: str) -> str:
        """The template, filled, with a capital letter."""
        return capital(self.filled(template))


class Part:
    """One section of one visit. lines: its sentences (prose) or rows."""

    def __init__(self, title: str, prose: bool, lines: list[str]):
        self.title, self.prose, self.lines = title, prose, lines

    def pieces(self) -> list[str]:
        """Title and lines with the white space that follows each; joined they are the text."""
        gap = " " if self.prose else "\n"
        return [f"{self.title}\n", *(line + gap for line in self.lines[:-1]), self.lines[-1] + "\n\n"]


def write(random: Random, words: int) -> list[Part]:
    """Parts of about so many words."""
    slots, visits = Slots(random), max(1, round(words / VISIT))
    parts = []
    for visit in range(1, visits + 1):
        title = f"VISIT {visit}" if visits > 1 else "NOTE"
        parts.append(Part(title, False, [slots.sentence(random.choice(HEADER))]))
        parts += [_section(slots, section, words / visits) for section in SECTIONS]
    return parts


def _section(slots: Slots, section: Section, visit: float) -> Part:
    lines, deck, left = [], [], section.share * visit
    while not lines or left > LINE / 2:
        deck = deck or slots.random.sample(section.templates, len(section.templates))
        lines.append(slots.sentence(deck.pop()))
        left -= len(lines[-1].split())
    return Part(section.title, section.prose, lines)


def capital(text: str) -> str:
    """Not `str.capitalize`, which would lower the letters of names."""
    return text[0].upper() + text[1:]
