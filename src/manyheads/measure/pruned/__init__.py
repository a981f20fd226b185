"""What pruning has bought and what it cost: one run beside the run it came from, and many prunings of one run."""
