"""`sparsec.from_mask_mod`: a FlexAttention mask_mod as .spat text."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import groupby

from sparsec.diagnostics import NotImportable, ReservedName, SparsecError, torch_for
from sparsec.importers import expressions as ex
from sparsec.importers.inputs import at_head, recording
from sparsec.importers.refusal import refusal
from sparsec.importers.trace import batch, lift, position
from sparsec.importers.values import Condition
from sparsec.lower.scope import INTEGERS
from sparsec.lower.signatures import BUILT_IN
from sparsec.syntax import ast
from sparsec.syntax.check import MAX_DEPTH, too_deep
from sparsec.syntax.errors.explain import KEYWORDS
from sparsec.syntax.format.printer import print_file

MaskMod = Callable[..., object]

_WORDS = (*KEYWORDS, *INTEGERS, *BUILT_IN)


def from_mask_mod(f: MaskMod, name: str | None = None, *, heads: int | None = None) -> str:
    """The .spat text of a mask_mod, `f(b, h, q_idx, kv_idx)`, exactly: the same pairs for every n.

        text = sparsec.from_mask_mod(lambda b, h, q, k: (q >= k) & (q - k < 512), name="local")
        attend = sparsec.compile(text)

    `f` is called once with objects that record what is done with them: + - * // % abs, comparisons, & | ~ ^, squares
    that are compared with numbers, `torch.where`, `minimum`, `maximum`, `clamp`, `isin` and their like as functions or
    methods, and the mask functions, `and_masks` and `or_masks` of FlexAttention and of transformers.  Numbers from
    outside, also tensors of no dimension, count as what they are at that moment.

    Tensors of bool, int32 or int64 that `f` looks up become inputs of the pattern, by the names that they have in it
    (variables, defaults, keys of a dictionary, attributes of its object): `document_id[q_idx] == document_id[kv_idx]`,
    `prefix_length[b]`, `window[h]`.  They are then given at each call: `attend(q, k, v, document_id=document_id)`.

    With `heads`, `f` is called once for each head, h being a tensor of no dimension, so that look-ups by head, such
    as `strides[h]`, become a `match`.  The text is then compiled with `heads=heads`.

    `name` is the pattern's, by default the function's.  q_idx is taken for the position, as in self-attention.
    Raises SparsecError for what has no exact form: other look-ups, other dependence on b, floats, `if`, `and`, `or`.
    """
    with recording(f) as tables:
        return mask_text(f, name, heads, lambda: tuple(tables.found.values()))


def mask_text(
    f: MaskMod, name: str | None, heads: int | None = None, inputs: Callable[[], tuple[ast.Input, ...]] = tuple
) -> str:
    """As `from_mask_mod`; without `inputs`, which are those found while `f` is traced, look-ups are refused."""
    if not callable(f):
        raise TypeError(f"a mask_mod is a function of b, h, q_idx and kv_idx, not a {type(f).__name__}")
    if heads is not None and heads < 1:
        raise ValueError(f"heads is at least 1, not {heads}")
    body = ex.condition(_traced(f, position("h"))) if heads is None else _by_head(f, heads)
    own = getattr(f, "__name__", type(f).__name__)
    doc = f"Imported from the mask_mod {own}." if own.isidentifier() else "Imported from a mask_mod."
    here = ex.NOWHERE
    definition = ast.Definition("pattern", pattern_name(name, own), (), body, doc, span=here, name_span=here)
    file = ast.File((*inputs(), definition), ex.NOWHERE.source)
    if any(too_deep(file)):
        raise refusal(f"an expression of more than {MAX_DEPTH} levels", "the language has no room for more")
    return print_file(file)


def pattern_name(given: str | None, own: str) -> str:
    """The name that was given, or the function's own.  SparsecError."""
    if given is None:
        return own if is_name(own) else "imported"
    if not is_name(given):
        raise SparsecError(ReservedName(name=given, why="a pattern"))
    return given


def condition_of(f: MaskMod) -> ex.Set:
    """The pairs that a mask_mod keeps, of all heads."""
    return _traced(f, position("h"))


def is_name(text: str) -> bool:
    """Whether a definition may have that name."""
    return re.fullmatch(r"[A-Za-z_]\w*", text, re.ASCII) is not None and text not in _WORDS


def _traced(f: MaskMod, h: object) -> ex.Set:
    """What the function returns for one head, or for all."""
    try:
        found = f(batch(), h, position("q"), position("k"))
        value = lift(found)
    except SparsecError:
        raise
    except Exception as error:  # whatever the function does with objects that it does not know
        hint = f"it raised {type(error).__name__}: {error}"
        raise SparsecError(NotImportable(construct="what the function does with its arguments", hint=hint)) from error
    if not isinstance(value, Condition):
        raise refusal("a function that returns an integer", "return a condition, such as `x != 0`")
    return value.value


def _by_head(f: MaskMod, heads: int) -> ast.Expr:
    """One arm for each run of heads with the same condition."""
    with torch_for("a function of heads"):
        import torch

    found = []
    for head in map(torch.tensor, range(heads)):
        with at_head(head):
            found.append(ex.condition(_traced(f, head)))
    runs = [(list(run), condition) for condition, run in groupby(range(heads), key=found.__getitem__)]
    if len(runs) == 1:
        return found[0]
    arms = tuple(ast.Arm((_heads(run),), condition, span=ex.NOWHERE) for run, condition in runs)
    return ast.Match(ex.name("h"), arms, span=ex.NOWHERE)


def _heads(run: list[int]) -> ast.Expr:
    first, last = ex.node(run[0]), ex.node(run[-1] + 1)
    return first if len(run) == 1 else ast.Range(first, last, span=ex.NOWHERE)
