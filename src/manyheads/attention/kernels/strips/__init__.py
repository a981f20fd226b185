"""Attention in strips: some queries against all keys that they need, so that no tensor holds queries × keys.

A strip is small enough for the processor's caches and large enough for batched matrix products. Since it holds every
key that its queries need, weights are plain softmax or sigmoid of its scores, and the backward makes them again.
"""
