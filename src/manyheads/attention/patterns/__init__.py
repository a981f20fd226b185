"""Static sparsity, one pattern a file: which keys may be seen at all, whatever a batch's own mask says."""
