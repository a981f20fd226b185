"""From words to a sentence. Clauses put a comma on both their sides; those that nothing needs are dropped here."""


def sentence(words: list[str], end: str) -> str:
    """Words and `,` joined, each comma once, none before the end, with a capital and the closing mark."""
    kept: list[str] = []
    for word in words:
        if word != "," or (kept and kept[-1] != ","):
            kept.append(word)
    if kept[-1] == ",":
        kept.pop()
    text = " ".join(kept).replace(" ,", ",")
    return text[0].upper() + text[1:] + end
