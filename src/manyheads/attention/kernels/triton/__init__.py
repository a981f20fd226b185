"""Triton source alone: pointers and strides in; nothing of the package is imported."""
