"""Launchers and the sweeper of manyheads, where Hydra looks for them; imported at every start, so nothing heavy."""
