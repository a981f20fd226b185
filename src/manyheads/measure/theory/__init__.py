"""What small models can and cannot compute, and how far beyond the trained length: two benchmarks of few minutes."""
