"""python scripts/benchmark.py pipeline|decoding|attention|reading|estimate|compiled|maps|pruned|pruning … ; --help."""

from manyheads.measure.command import main

if __name__ == "__main__":
    main()
