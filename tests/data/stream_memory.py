"""Documents in memory, for tests of what is done with documents."""

from hashlib import sha256

from manyheads.data.stream.source import Source


class Memory(Source):
    """blocks: characters of the blocks in which a document comes; None: in one."""

    place = "memory"

    def __init__(self, texts, blocks=None):
        self.texts, self.blocks, self.times_read = list(texts), blocks, 0
        self.digest = sha256(repr(self.texts).encode()).hexdigest()
        self.size = sum(map(len, self.texts))

    def documents(self, faults):
        self.times_read += 1
        for text in self.texts:
            if not text.strip():
                faults.add(f"{self.place}: a document is empty")
                continue
            size = self.blocks or len(text)
            yield [text[at : at + size] for at in range(0, len(text), size)]
