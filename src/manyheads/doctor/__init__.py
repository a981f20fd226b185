"""Looks at a run that has not begun: machine, config, data, model, memory and speed. Nothing is written."""
