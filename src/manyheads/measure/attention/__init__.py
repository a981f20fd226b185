"""Attentions and kernels side by side, and beside installed peers: time, memory, error, and the machine's ceiling."""
