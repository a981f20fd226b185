"""python train.py attention=… data=… : one run. `--help` lists what can be chosen."""

from manyheads.train import main

if __name__ == "__main__":
    main()
