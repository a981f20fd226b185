"""python scripts/prune.py run=FOLDER pruning=NAME …: a smaller model from a finished run; --help says more."""

from manyheads.prune import main

if __name__ == "__main__":
    main()
