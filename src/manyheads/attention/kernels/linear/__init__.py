"""Kernels of attention by feature maps: out_i = Σ_j w_ij v_j / (Σ_j w_ij + eps) over the keys j that query i sees,
with w_ij = φ_q(q_i) · φ_k(k_j) and no scale. `reference` is the specification; the others must agree with it.

Each module here is one kernel and has two functions:

    why_not(q, k, mask, feature) -> str | None          why it cannot run on these inputs, in one sentence
    attend(q, k, v, mask, feature, eps) -> out          q (b, h, n, d); k, v (b, g, m, d); out (b, h, n, d) like v

`feature` is a `manyheads.attention.features.FeatureMap`:

    feature.name                                        "elu" (φ(x) = elu(x) + 1, entry by entry) or "favor"
    feature.floor                                       a number added to each key feature; 0 for "elu"
    feature.queries(q (…, d)) -> (…, F)                 φ_q, positive
    feature.keys(k (…, d)) -> (…, F), top (…) | None    φ_k(k_j) = features · e^(top_j − top of what i sees) + floor
    feature.queries_back(q, φ, dφ, out), .keys_back     write the gradients by q and k to `out`, from φ itself

"elu" has no top and no floor: φ_q = φ_k = elu(x) + 1, and its derivative is min(φ, 1). A kernel that knows one map
alone (feature.name == "elu") refuses the others in `why_not`.

Sums and the division are made in at least fp32 (float64 stays float64). Unseen keys and their values may hold NaN and
inf: they are replaced, never multiplied by zero. A query that sees nothing gives zeros, with zero gradient. Documents
of a row must stand in one piece each (packed); patterns and biases are refused by the rule before a kernel is asked.
"""
