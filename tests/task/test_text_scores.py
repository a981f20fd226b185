import sacrebleu

from manyheads.task.text_scores import scores, signatures


def test_scores_are_those_of_the_command_line_tool():
    said, meant = ["Der Hund schläft heute im Garten ."], ["der Hund schläft heute im Garten."]
    found = scores(said, meant)
    assert found["bleu"] == sacrebleu.corpus_bleu(said, [meant]).score
    assert found["chrf"] == sacrebleu.corpus_chrf(said, [meant]).score
    assert found["bleu"] < 99 < found["bleu_lowercase"]
    found = signatures()
    assert "case:mixed" in found["bleu"]
    assert "case:lc" in found["bleu_lowercase"]
    assert "tok:13a" in found["bleu"]
