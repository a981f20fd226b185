"""python scripts/doctor.py [overrides of train.py] [--json]: what is wrong with a run before it begins."""

from manyheads.doctor.command import main

if __name__ == "__main__":
    main()
