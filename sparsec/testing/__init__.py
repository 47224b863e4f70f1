"""What users need to fuzz patterns of their own: the dense oracle, here, and Hypothesis strategies.

    from sparsec.testing import check
    check(sparsec.load("mine.spat"), n_q=100, n_k=130, heads=4, kv_heads=2)

`sparsec.testing.programs` draws random patterns, `sparsec.testing.texts` random texts; both need hypothesis.
"""

from sparsec.testing.dense_attention import Comparison, Problem, Results, check, compare, dense, random_problem, run

__all__ = ["Comparison", "Problem", "Results", "check", "compare", "dense", "random_problem", "run"]
