"""An embedded corpus of English and German sentence pairs, made by a seeded grammar: no download, no licence."""

from manyheads.data.synthetic.corpus import derive, generate, held_out

__all__ = ["derive", "generate", "held_out"]
