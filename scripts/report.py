"""python scripts/report.py FOLDER… ; --help lists the options."""

from manyheads.report.command import main

if __name__ == "__main__":
    main()
