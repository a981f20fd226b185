"""python scripts/predict.py run=FOLDER … ; --help lists the arguments."""

from manyheads.predict import main

if __name__ == "__main__":
    main()
