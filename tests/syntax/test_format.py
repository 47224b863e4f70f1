"""The layout of a text: what it says and its comments stay, and its own layout is itself."""

import random
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sparsec import resources
from sparsec.diagnostics import SparsecError
from sparsec.lower.file import lower, lower_fully
from sparsec.source import Source
from sparsec.syntax.format.layout import WIDTH
from sparsec.syntax.format.printer import print_file
from sparsec.syntax.format.text import format_text
from sparsec.syntax.grammar import grammar
from sparsec.syntax.parse import parse
from sparsec.testing.programs import match_programs, programs, tables, terms
from sparsec.testing.texts import files

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.spat"))
STABLE = {path.name: path.read_text() for path in EXAMPLES} | {"prelude.spat": resources.text("grammar/prelude.spat")}

GAPS = (
    "",
    "",
    "",
    " ",
    "  ",
    "\n",
    "\n\n\n",
    "\t",
    " # one\n",
    "\n# two words\n",
    "\n\n  #three\n\n",
    "#\n",
    '# ( "x\n',
)

seeds = st.integers(0, 2**32)


def formatted(text: str) -> str:
    return format_text(Source("p.spat", text))


def comments(text: str) -> list[str]:
    """The words of the comments, found without the formatter."""
    found = re.findall(r'"""(?:[^"\\]|\\.|"(?!""))*"""|"(?:[^"\\\n]|\\.)*"(?!")|(#[^\n]*)', text, re.DOTALL)
    return " ".join(found).split()


def scattered(text: str, seed: int) -> str:
    """A text with other blanks, line ends and comments between its tokens."""
    draw = random.Random(seed).choice
    tokens = list(grammar().lex(text))
    out = draw(GAPS)
    for token, following in zip(tokens, [*tokens[1:], None], strict=False):
        gap = draw(GAPS)
        if not gap and following is not None and text[token.end_pos : following.start_pos]:
            gap = " "
        out += str(token) + gap
    return out


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(files(), seeds)
def test_any_text(file, seed):
    text = scattered(print_file(file), seed)
    new = formatted(text)
    assert parse(Source("new", new)) == parse(Source("old", text))
    assert formatted(new) == new
    assert comments(new) == comments(text)
    assert not re.search(r"[ \t]+$|\n\n\n|\A\n|\n\n\Z", re.sub(r'"""(?s:.)*?"""', "''", new), re.MULTILINE)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(STABLE)), seeds)
def test_scattered_examples(name, seed):
    text = scattered(STABLE[name], seed)
    new = formatted(text)
    assert parse(Source("new", new)) == parse(Source("old", text))
    assert formatted(new) == new
    assert comments(new) == comments(text)


@given(programs(term=terms() | tables()) | match_programs())
def test_the_set_stays(program):
    try:
        old = lower(parse(Source("old", program.text)), heads=program.heads)
    except SparsecError:  # an empty pattern
        return
    new = lower(parse(Source("new", formatted(program.text))), heads=program.heads)
    assert new.conditions == old.conditions
    assert new.head_conditions == old.head_conditions


@pytest.mark.parametrize("name", STABLE)
def test_stable(name):
    assert formatted(STABLE[name]) == STABLE[name]


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(files())
def test_what_is_printed_is_laid_out(file):
    text = print_file(file)
    assert formatted(text) == text


LAYOUTS = {
    "blanks": (
        "pattern  p( w=3,s = 4 )=past( w )|sinks(s)&~ full\n",
        "pattern p(w = 3, s = 4) = past(w) | sinks(s) & ~full\n",
    ),
    "ranges": (
        "set a(w) = k in 0 .. w | k in q-4..q+1 | k in - 1..(w+1)",
        "set a(w) = k in 0..w | k in q - 4 .. q + 1 | k in -1..(w + 1)\n",
    ),
    "a body on its own line stays there": ("pattern p =\npast(4)", "pattern p =\n    past(4)\n"),
    "a union broken once is broken throughout": (
        "pattern p = past(4) | sinks(4) |\nglobal(2)",
        "pattern p =\n    past(4)\n    | sinks(4)\n    | global(2)\n",
    ),
    "brackets opened on a line of their own": (
        "pattern p = causal & (\npast(4) | sinks(4))",
        "pattern p =\n    causal & (\n        past(4) | sinks(4)\n    )\n",
    ),
    "doubled brackets": ("pattern p = (((k <= q))) & past((4))", "pattern p = (k <= q) & past((4))\n"),
    "what breaks later does not break what comes before it": (
        "pattern p =\nmatch 0 { 0 * 0 -> random_keys | causal "
        "| match 0 { else -> past, else -> causal, 1 | 2 -> past + causal } }",
        """pattern p =
    match 0 {
        0 * 0 -> random_keys
            | causal
            | match 0 { else -> past, else -> causal, 1 | 2 -> past + causal }
    }
""",
    ),
    "arms": (
        "pattern p = match h {\n0..4->past(3),else->full,}",
        "pattern p = match h {\n    0..4 -> past(3)\n    else -> full\n}\n",
    ),
    "arms on one line": (
        "pattern p = match h {0->full\n else->causal,}",
        "pattern p = match h { 0 -> full, else -> causal }\n",
    ),
    "comments": (
        "# top\n\n\npattern p = # why\n  past(4) #last\n  | # between\n sinks(4) # end\n\n\n# below",
        "# top\n\npattern p =  # why\n    past(4)  #last\n    | sinks(4)  # between  # end\n\n# below\n",
    ),
    "declarations": (
        'use "a"\nuse "b"\n"""Doc."""\nset a = full\nset b = full\n\n\n\nset c = full\n',
        'use "a"\nuse "b"\n\n"""Doc."""\nset a = full\n\nset b = full\n\nset c = full\n',
    ),
    "nothing": ("\n \n", ""),
    "a comment alone": ("  # x  \n", "# x\n"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name):
    given_text, expected = LAYOUTS[name]
    assert formatted(given_text) == expected


@pytest.mark.parametrize(
    "body",
    [
        " | ".join(f"past({10**i})" for i in range(1, 14)),
        "causal & (" + " | ".join(f"past({10**i})" for i in range(1, 14)) + ")",
        "k in {" + ", ".join(map(str, range(100))) + "}",
        "blocks(4, [" + ", ".join(f"[{i}, {i + 1}]" for i in range(30)) + "])",
        "past(match h { " + ", ".join(f"{i} -> {i + 1}" for i in range(30)) + " })",
        "k < " + " + ".join(f"{i} * q" for i in range(1, 30)),
        "0" + "".join(f" <= q + {i} * k" for i in range(1, 30)),
    ],
    ids=["union", "brackets", "members", "table", "match", "sum", "chain"],
)
def test_long_lines_are_broken(body):
    new = formatted(f"pattern p = {body}\n")
    assert max(map(len, new.splitlines())) <= WIDTH
    assert formatted(new) == new


def warned(text: str) -> list[str]:
    return [warning.code for warning in lower_fully(parse(Source("p", text)), heads=4).warnings]


@pytest.mark.parametrize(
    "body",
    [
        "sinks(4) | (past(8) \\ past(2))",
        "(causal & window(8)) | global(2)",
        "((causal & window(8))) | global(2)",
        "( # why\n causal & # here\n window(8)) | global(2)",
        "global(2) | ( # why\n past(8) \\ past(2) # here\n)",
    ],
)
def test_brackets_that_say_what_is_meant_stay(body):
    text = f"pattern p = {body}\n"
    assert warned(text) == []
    assert warned(formatted(text)) == []


def test_errors_are_those_of_the_parser():
    with pytest.raises(SparsecError, match="SP0104"):
        formatted("pattern p = causal & & past(4)\n")


@pytest.mark.parametrize("text", ["(" * 20_000 + "causal" + ")" * 20_000, "~(" * 90 + "causal" + ")" * 90])
def test_deep_brackets(text):
    assert len(formatted(f"pattern p = {text}\n")) < 100_000
