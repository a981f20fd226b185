"""python scripts/evaluate.py run=FOLDER … ; --help lists the arguments."""

from manyheads.evaluate import main

if __name__ == "__main__":
    main()
