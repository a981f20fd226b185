"""python scripts/benchmark.py NAME KEY=VALUE …; --help lists what can be measured."""

from manyheads.measure.command import main

if __name__ == "__main__":
    main()
