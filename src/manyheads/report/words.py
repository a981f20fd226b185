"""What a section comes to, in sentences."""

from dataclasses import dataclass

from manyheads.report import costs, metrics, stats
from manyheads.report.section import BUSY, Comparison, Section

CLEAR = 0.05
"""p values below it are called beyond chance."""

MOST = 12
"""Seeds that are ever advised."""


@dataclass(frozen=True)
class Words:
    """take: which, and why; sure: how sure that is; surer: what would make it surer; warnings: what to know first."""

    take: str
    sure: str
    surer: str
    warnings: tuple[str, ...] = ()

    @property
    def all(self) -> list[str]:
        return [*self.warnings, self.take, self.sure, self.surer]


def words(section: Section) -> Words:
    if section.choice is None:
        return Words(
            "There is nothing to choose from: no run finished with a score.",
            "Nothing is sure.",
            "Look at the reasons above, and start what failed again: python train.py resume=FOLDER.",
        )
    return Words(_take(section), _sure(section), _surer(section), tuple(_warnings(section)))


def _take(section: Section) -> str:
    choice, name = section.choice, metrics.title(section.metric)
    taken, best = choice.taken, choice.best
    mine = metrics.figure(section.compared_means[taken])
    if len(section.quality) == 1:
        return f"{taken} alone has a score, {name} {mine}: with nothing beside it there is nothing to choose."
    if section.mean_cost.get(taken) is None:
        return f"Take {taken}: its {name}, {mine}, is the best; what the others would save was not measured."
    if taken == best:
        beside = [label for label in choice.within if label != best]
        why = (
            f"of those within one standard error of it ({_listed(beside)}) none costs less"
            if beside
            else "no other comes within one standard error of it"
            if choice.error is not None
            else "with one seed its standard error is unknown"
        )
        return f"Take {taken}: its {name}, {mine}, is the best, and {why} ({_paid(section, taken)})."
    saved = 1 - section.mean_cost[taken] / section.mean_cost[best] if best in section.mean_cost else None
    less = f", {saved:.0%} less than {best}" if saved else ""
    error = f" ± {metrics.figure(choice.error)}" if choice.error is not None and not section.by_examples else ""
    return (
        f"Take {taken}: it costs least ({_paid(section, taken)}{less}) of all within one standard error of the best; "
        f"its {name} is {mine}, that of {best} {metrics.figure(section.compared_means[best])}{error}."
    )


def _sure(section: Section) -> str:
    choice = section.choice
    if len(section.quality) == 1:
        return "Nothing is compared, so nothing can be sure."
    others = sorted(((share, label) for label, share in choice.shares.items() if label != choice.taken), reverse=True)
    told = [f"{label} in {share:.0%}" for share, label in others[:3] if round(share, 2)]
    unit = _unit(section)
    if choice.count == 1:
        return f"How sure that is nobody can tell from one {unit}."
    first = (
        f"In {choice.sure:.0%} of {choice.resamples:,} resamples of the {choice.count:,} {unit}s the same one is taken"
    )
    return f"{first}{', ' + _listed(told) if told else ''}; {_tested(section)}."


def _tested(section: Section) -> str:
    """Which others the taken one is clearly better or worse than, over seeds, and over examples."""
    mine = [c for c in section.comparisons if section.choice.taken in (c.one, c.other)]
    by_seeds = [c for c in mine if c.p is not None and c.p < CLEAR]
    # Where examples and the metric point different ways, examples confirm nothing.
    by_examples = [
        c for c in mine if c.p_examples is not None and c.p_examples < CLEAR and c.difference_of_examples > 0
    ]
    told = [
        f"over {over} it is beyond chance {_than(section, found)}"
        for over, found in (("seeds", by_seeds), ("test examples, of these very models,", by_examples))
        if found
    ]
    if not told:
        return "no difference to another one is beyond chance by the paired tests"
    return ", and ".join(told) + ("" if by_seeds else "; the seeds alone do not show it")


def _than(section: Section, clear: list[Comparison]) -> str:
    taken = section.choice.taken
    better, worse = [c.other for c in clear if c.one == taken], [c.one for c in clear if c.other == taken]
    parts = [f"{word} than {_listed(names)}" for word, names in (("better", better), ("worse", worse)) if names]
    return _listed(parts)


def _surer(section: Section) -> str:
    seeds = min(len(values) for values in section.compared.values())
    wanted = seeds_wanted(len(section.comparisons))
    if len(section.quality) == 1:
        return "Train a second attention: python train.py -m attention=dense,linear seed=1,2,3 …"
    if seeds >= wanted and section.choice.sure >= 0.95:
        return "More seeds would hardly change it; other data, or longer training, might."
    if seeds >= wanted:
        return (
            "More seeds, or a larger test set, would tell those that change places apart, if they differ in quality "
            "at all; if they do not, the cheaper one is right either way."
        )
    bound = f"{stats.least_p(seeds):g}" if seeds > 1 else "1"
    own = "one seed gives" if seeds == 1 else f"{seeds} seeds can give"
    return (
        f"To be surer, train {wanted - seeds} more seeds by the same command in a folder of its own, and report both "
        f"folders together: {own} no p below {bound}, {wanted} can show every difference here to be beyond chance."
    )


def seeds_wanted(pairs: int) -> int:
    """The fewest with which the smallest p, corrected for `pairs` of comparisons, is below CLEAR."""
    return next((n for n in range(2, MOST) if max(1, pairs) * stats.least_p(n) < CLEAR), MOST)


def _warnings(section: Section) -> list[str]:
    found = list(section.notes)
    if section.baseline is not None and section.beaten:
        name, value = section.baseline
        which = "No attention" if len(section.beaten) == len(section.quality) else f"{_listed(section.beaten)}"
        does = "does better than" if len(section.beaten) == len(section.quality) else "did not do better than"
        told = (
            "nothing here says much about attention yet"
            if which == "No attention"
            else "too little was learnt there to judge by"
        )
        found.append(f"{which} {does} the baseline {name} ({metrics.figure(value)}): {told}.")
    found += _busy(section)
    found += _unlike(section)
    short = [group for group in section.groups if len(group.finished) < len(group.runs)]
    if short:
        counts = [f"{group.label} {len(group.finished)} of {len(group.runs)}" for group in short]
        found.append(f"Not every run finished ({_listed(counts)}); what did not is not counted.")
    if section.by_examples:
        of = next(iter(section.scores.values())).of
        found.append(
            f"One seed each: the spread is that over test examples ({of}), and what another seed would do is unknown."
        )
    return found


def _busy(section: Section) -> list[str]:
    if section.unrest <= BUSY:
        return []
    return [
        f"Speeds of the same attention differ by up to {section.unrest:.1f} times between seeds: the machine did "
        "other work, too, so that time says little here. Arithmetic does not depend on that: report with "
        "cost=flops_per_token."
    ]


def _unlike(section: Section) -> list[str]:
    """Seeds that some lack, as in a sweep that was cut off."""
    seeds = {label: tuple(sorted(values, key=str)) for label, values in section.quality.items()}
    if len(set(seeds.values())) < 2:
        return []
    counts = _listed([f"{label} {', '.join(map(str, own))}" for label, own in seeds.items()])
    shared = section.compared is not section.quality
    what = (
        f"the choice is made over {', '.join(map(str, next(iter(section.compared.values()))))}, which all have"
        if shared
        else "none is shared, so that luck with a seed is not told from the attention"
    )
    return [f"Not all were trained with the same seeds ({counts}): {what}."]


def _unit(section: Section) -> str:
    return "test example" if section.by_examples else "seed"


def _paid(section: Section, label: str) -> str:
    axis = costs.AXES[section.cost]
    return f"{metrics.figure(section.mean_cost[label])} {axis.paid}"


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
