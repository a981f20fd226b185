"""Generated stories: the same everywhere, and every answer follows from what was told before."""

import re
from hashlib import sha256
from random import Random

from manyheads.data.synthetic.prose import EDITION, stories_of, tell_story

TOLD = re.compile(r"(\w+) is a (\w+) and lives by ([\w ]+)\. \1 keeps a ([\w ]+)\.")
QUESTIONS = {
    "keeper": re.compile(r"Who keeps the ([\w ]+)\? $"),
    "thing": re.compile(r"What does (\w+) keep\? The $"),
    "trade": re.compile(r"Who lives by ([\w ]+)\? The $"),
    "home": re.compile(r"Where is the (\w+) at home\? By $"),
}


def answer(before):
    """What a reader of everything before it would say."""
    people = {name: {"trade": trade, "home": home, "keeps": thing} for name, trade, home, thing in TOLD.findall(before)}
    for one, other in re.findall(r"Then (\w+) and (\w+) swap", before):
        people[one]["keeps"], people[other]["keeps"] = people[other]["keeps"], people[one]["keeps"]
    kind, asked = next((kind, found[1]) for kind, rule in QUESTIONS.items() if (found := rule.search(before)))
    by = {"keeper": "keeps", "thing": None, "trade": "home", "home": "trade"}[kind]
    name = asked if by is None else next(name for name, facts in people.items() if facts[by] == asked)
    return {"keeper": name, "thing": people[name]["keeps"], **{k: people[name][k] for k in ("trade", "home")}}[kind]


def test_every_answer_follows_from_what_was_told():
    for number in range(30):
        story = tell_story(Random(number))
        assert len(story.answers) >= 6
        for begin, end in story.answers:
            assert story.text[begin:end] == answer(story.text[:begin])


def test_most_answers_need_what_stands_far_back():
    """No sentence near the question repeats the fact, unless it was asked before."""
    stories = [tell_story(Random(number)) for number in range(50)]
    far = [
        begin - story.text.rindex(story.text[begin:end], 0, begin) > 300
        for story in stories
        for begin, end in story.answers
    ]
    assert sum(far) > 0.4 * len(far)


def test_splits_are_different_stories_and_the_same_ones_each_time():
    splits = {split: list(stories_of(split, 60, 3)) for split in ("train", "val", "test")}
    assert [len(found) for found in splits.values()] == [54, 3, 3]
    assert len({text for found in splits.values() for text in found}) == 60
    assert list(stories_of("val", 60, 3)) == splits["val"] != list(stories_of("val", 60, 4))


def test_the_edition_names_the_text():
    """Tokenised stories are found on disk by their edition: another text has to have another one."""
    digest = sha256("\n".join(stories_of("test", 100, 1)).encode()).hexdigest()
    assert (EDITION, digest[:16]) == (1, "7c8078628804d50c")
