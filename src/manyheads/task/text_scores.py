"""Scores of translations, by sacreBLEU, with the signatures under which they can be compared."""

from sacrebleu.metrics import BLEU, CHRF

METRICS = {
    "bleu": BLEU(),
    "bleu_lowercase": BLEU(lowercase=True),
    "chrf": CHRF(),
}


def scores(translations: list[str], references: list[str]) -> dict[str, float]:
    """Corpus scores from 0 to 100, cased and detokenised unless the name says otherwise."""
    return {name: metric.corpus_score(translations, [references]).score for name, metric in METRICS.items()}


def signatures() -> dict[str, str]:
    """Valid after `scores` has run once."""
    return {name: str(metric.get_signature()) for name, metric in METRICS.items()}
