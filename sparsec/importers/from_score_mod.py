"""`sparsec.from_score_mod`: a FlexAttention score_mod as .spat text."""

from __future__ import annotations

from collections.abc import Callable

from sparsec.diagnostics import NotImportable, SparsecError
from sparsec.importers import expressions as ex
from sparsec.importers.from_mask_mod import MaskMod, condition_of, is_name, pattern_name
from sparsec.importers.inputs import recording
from sparsec.importers.reals import RealValue, as_real, scoring
from sparsec.importers.refusal import refusal
from sparsec.importers.trace import Traced, bare, batch, position
from sparsec.syntax import ast
from sparsec.syntax.check import MAX_DEPTH, too_deep
from sparsec.syntax.format.printer import print_file

ScoreMod = Callable[..., object]


def from_score_mod(f: ScoreMod, name: str | None = None, *, mask_mod: MaskMod | None = None) -> str:
    """The .spat text of a score_mod, `f(score, b, h, q_idx, kv_idx)`, and of the pairs that a mask_mod keeps.

        text = sparsec.from_score_mod(lambda score, b, h, q, k: score - slope[h] * (q - k), mask_mod=causal)
        out = sparsec.compile(text)(q, k, v, slope=slope)

    `f` is called once with objects that record what is done with them: + - * /, tanh, exp, exp2, log, sqrt, sigmoid,
    abs, minimum, maximum, clamp, squares, powers of positive numbers, `torch.where` by positions, and what
    `from_mask_mod` knows of integers.  Numbers from outside, also tensors of no dimension, count as what they are at
    that moment.  Tensors that `f` looks up become inputs by the names that they have in it: `slope[h]`,
    `bias[b, kv_idx]`, `table[h, (q_idx - kv_idx).abs()]`, `full[h, q_idx, kv_idx]`, `document[q_idx]`.  Those of floats
    have gradients.

    `name` is the pattern's, by default "imported"; without `mask_mod` it is about all pairs.  q_idx is taken for the
    position, as in self-attention.  Raises SparsecError for what has no exact form: infinite scores, conditions on
    scores, indices that may be negative, `if`.
    """
    for given in (f, *([] if mask_mod is None else [mask_mod])):
        if not callable(given):
            raise TypeError(f"a score_mod is a function of score, b, h, q_idx and kv_idx, not a {type(given).__name__}")
    with recording(f, *([] if mask_mod is None else [mask_mod])) as tables:
        with scoring():
            score = _traced(f)
        body: ast.Expr = ex.name("full") if mask_mod is None else ex.condition(condition_of(mask_mod))
        inputs = tuple(tables.found.values())
    pattern = pattern_name(name, "imported")
    own = getattr(f, "__name__", "")
    own = own if is_name(own) and own not in (pattern, *(each.name for each in inputs)) else "modified"
    here = ex.NOWHERE
    definitions = (
        ast.Definition("score", own, (), score, "Imported from a score_mod.", span=here, name_span=here),
        ast.Definition("pattern", pattern, (), _scored(body, own), None, span=here, name_span=here),
    )
    file = ast.File((*inputs, *definitions), here.source)
    if any(too_deep(file)):
        raise refusal(f"an expression of more than {MAX_DEPTH} levels", "the language has no room for more")
    return print_file(file)


def _scored(body: ast.Expr, score: str) -> ast.Expr:
    return ast.Scored(body, (ex.name(score),), span=ex.NOWHERE)


def _traced(f: ScoreMod) -> ast.Expr:
    """What the function returns."""
    try:
        return as_real(bare(f(Traced(RealValue(ex.name("s"))), batch(), position("h"), position("q"), position("k"))))
    except SparsecError:
        raise
    except Exception as error:  # whatever the function does with objects that it does not know
        hint = f"it raised {type(error).__name__}: {error}"
        raise SparsecError(NotImportable(construct="what the function does with its arguments", hint=hint)) from error
