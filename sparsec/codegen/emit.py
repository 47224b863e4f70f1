"""Plan -> the text of a Python module that needs torch alone on a CPU, torch and triton on a GPU."""

from __future__ import annotations

import builtins
import hashlib
import keyword
from functools import cache

import jinja2

from sparsec import resources
from sparsec.codegen import settings, texts
from sparsec.codegen.header import header
from sparsec.codegen.shape import named_shapes
from sparsec.codegen.tuned import Tuned
from sparsec.ir.nodes import Blocks
from sparsec.ir.ranges import MOST_POSITIONS
from sparsec.plan.nodes import Plan
from sparsec.sets.tiles import MIN_TILE

_LONGEST_LINE = 120
_PLACEHOLDER = "op_name_of_this_content"
_TAKEN = {
    "torch",
    "triton",
    "tl",
    "contextlib",
    "functools",
    "itertools",
    "math",
    "operator",
    "overload",
    "Literal",
    "NamedTuple",
    "SimpleNamespace",
    "TensorDescriptor",
    "register_flop_formula",
    "LOG2_E",
    "LN_2",
}


def emit(plan: Plan, notes: str = "", tuned: Tuned | None = None) -> str:
    """The module's text, with `notes` (a picture, facts) as comments at its top and the tuned settings that its
    kernels have.  Equal inputs give equal bytes.
    """
    leaves, groups = texts.groups(plan)
    choices = [choice for group in groups for choice in group.choices]
    walks = [walk for choice in choices for walk in choice.walks]
    parts = [part for walk in walks for part in walk.parts]
    body = (
        _environment()
        .get_template("module.py.jinja")
        .render(
            header=header(plan, notes),
            name=function_name(plan.pattern.name),
            op=_PLACEHOLDER,
            groups=groups,
            walks=walks,
            parts=parts,
            leaves=[texts.leaf(leaf, index) for index, leaf in enumerate(leaves)],
            written=any(isinstance(leaf, Blocks) for leaf in leaves),
            drawn=any(not isinstance(leaf, Blocks) for leaf in leaves),
            listed=len(groups) > 1,
            several=any(len(choice.parts) > 1 for choice in choices),
            continued=any(len(choice.walks) > 1 for choice in choices),
            summed=any(sum(not part.comb for part in choice.parts) > 1 for choice in choices),
            handed_on=any(walk.long and not walk.last for walk in walks)
            or any(part.long_keys and not part.finishes and not part.comb for part in parts),
            long_rows=any(walk.long for walk in walks),
            long_keys=any(part.long_keys for part in parts),
            residues=any(part.stride > 1 for part in parts),
            combs=any(part.comb for part in parts),
            combs_alone=any(all(part.comb for part in choice.parts) for choice in choices),
            blocks=any(part.block > 1 for part in parts),
            scattered=any(part.layout == "scattered" for part in parts),
            heads=plan.pattern.heads,
            min_tile=MIN_TILE,
            most_positions=MOST_POSITIONS,
            settings_table=settings.table(),
            tuned_table=tuned.table(named_shapes(plan, groups)) if tuned and tuned.settings else "",
        )
    )
    if any(len(line) > _LONGEST_LINE for line in body.splitlines()):  # a bound or a condition with no place to break
        body = "# ruff: noqa: E501\n" + body
    digest = hashlib.sha256(body.encode()).hexdigest()[:12]
    return body.replace(_PLACEHOLDER, f"{plan.pattern.name}_{digest}")


def function_name(name: str) -> str:
    """The name of the generated function: the pattern's, with a `_` where Python or the module needs that name."""
    python = keyword.iskeyword(name) or keyword.issoftkeyword(name) or hasattr(builtins, name)
    return f"{name}_" if python or name in _TAKEN or name.startswith("_") else name


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: resources.text(f"templates/{name}")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
