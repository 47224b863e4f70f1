"""Device functions: scores of a tile, and their derivatives, where a pattern has a score.

SCORE and SCORE_GRADIENT are functions of a generated module, of the scaled products of a tile, positions that broadcast
with it, the number of keys, the query head, the number of heads, and whether positions are NEAR (`real_distance`);
then, where it reads data of the call, of the place of the pairs (`at`), the data and FORMS; and of NUMBERS where heads
share them.
"""

from __future__ import annotations

from sparsec.kernels.machine.device import LN_2, LOG2_E, tl, triton
from sparsec.kernels.tiles.regions import ask, ask_data


@triton.jit
def score_tile(ANSWER: tl.constexpr, s, q, k, n, at, rules, scale_log2, BY_QUERY: tl.constexpr):
    """What SCORE or SCORE_GRADIENT says of products s, not yet scaled; BY_QUERY: rows are queries."""
    scaled = s * (scale_log2 * LN_2)
    if BY_QUERY:
        found = ask_score(ANSWER, scaled, q[:, None], k[None, :], n, at, rules)
    else:
        found = ask_score(ANSWER, scaled, q[None, :], k[:, None], n, at, rules)
    return found


@triton.jit
def ask_score(ANSWER: tl.constexpr, scaled, q, k, n, at, rules):
    """What a function of scaled products answers."""
    if rules.INPUTS is None:
        found = ask(ANSWER, (scaled, q, k, n, at[1], at[2], rules.NEAR), (), rules.NUMBERS)
    else:
        found = ask_data(ANSWER, (scaled, q, k, n, at[1], at[2], rules.NEAR, at), (), rules)
    return found


@triton.jit
def scale_of(rules, scale_log2):
    """What scores are multiplied with, for exponents in base 2: a score has been scaled before."""
    scale = scale_log2
    if rules.SCORE is not None:
        scale = LOG2_E
    return scale


@triton.jit
def there_only(p, lse_2):
    """Weights of queries, a row of a tile each in its columns: 0 where there is none, whatever its score would be."""
    return tl.where((lse_2 == float("inf"))[None, :], 0.0, p)


@triton.jit
def through_score(p, slope):
    """Weights times slopes, of which gradients of products are made; 0 where the weight is, whatever the slope."""
    return tl.where(p == 0.0, 0.0, p * slope)
