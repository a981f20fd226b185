"""Many runs by one command: each job a process of its own, here, on Ray or on SLURM; grids and searches."""
