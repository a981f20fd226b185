"""Triton kernels as torch operators: launch, shapes for the compiler, gradients."""
