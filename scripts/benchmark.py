"""python scripts/benchmark.py pipeline|decoding|attention|reading|estimate|compiled … ; --help lists them."""

from manyheads.measure.command import main

if __name__ == "__main__":
    main()
