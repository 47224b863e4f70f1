"""Every function and method of torch that an import knows, in each spelling, is what torch makes of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sparsec
from sparsec.diagnostics import EmptyPattern, NotImportable, SparsecError
from sparsec.importers.torch_names import known
from sparsec.ir import reference
from sparsec.lower.file import lower
from sparsec.source import Source
from sparsec.syntax.parse import parse

N = 19
NAMES = {"torch": torch, "TABLE": torch.tensor([[3, -2], [4, 5]]), "ONE": torch.tensor(3), "ZERO": torch.zeros(2)}


def check(text: str) -> None:
    """The condition `text` of q and k, imported, holds for the pairs that torch finds."""
    f = eval(f"lambda b, h, q, k: {text}", NAMES)
    try:
        pattern = lower(parse(Source("imported", sparsec.from_mask_mod(f))))
        found = reference.mask(pattern.conditions[0], N, N)
    except SparsecError as error:
        assert [type(each) for each in error.diagnostics] == [EmptyPattern], (text, error)
        found = np.zeros((N, N), bool)
    zero, positions = torch.tensor(0), torch.arange(N)
    expected = f(zero, zero, positions[:, None], positions).broadcast_to(N, N)
    assert (found == expected.numpy()).all(), text


INTEGER = st.sampled_from(["q", "k", "(q - k)", "(3 - q)", "(2 * q - k + 1)", "torch.where(q < 9, q, 7 - k)"])
NUMBER = st.integers(-9, 9).map("({})".format) | st.just("ONE")
DIVISOR = st.sampled_from(["(-4)", "(-1)", "1", "2", "5", "8"])
MASK = st.integers(-40, 40).map("({})".format)
EXPONENT = st.sampled_from(["0", "1", "3"])
CONDITION = st.sampled_from(["(q < 9)", "(k <= q)", "((q - k) % 3 == 0)", "(q == k)", "(k > 4)"])
EITHER = INTEGER | CONDITION
OTHER = INTEGER | NUMBER


@dataclass(frozen=True)
class Call:
    """Names of one signature: parameters in torch's order, the operands, whether the result is an integer."""

    names: str
    parameters: str
    operands: tuple[st.SearchStrategy[str], ...]
    gives: str = "integer"
    spellings: str = "function method keywords"


CALLS = (
    Call("add sub subtract minimum maximum", "input other", (INTEGER, INTEGER)),
    Call("add sub subtract", "input other", (INTEGER, NUMBER)),
    Call("rsub", "input other", (INTEGER, INTEGER), spellings="function keywords"),
    Call("mul multiply", "input other", (INTEGER, NUMBER)),
    Call("floor_divide remainder", "input other", (INTEGER, DIVISOR)),
    Call("div divide", "input other", (INTEGER, DIVISOR), spellings="floor"),
    Call("add sub subtract", "input other", (INTEGER, OTHER), spellings="alpha"),
    Call("bitwise_left_shift bitwise_right_shift", "input other", (INTEGER, EXPONENT)),
    Call("pow", "input exponent", (INTEGER, st.sampled_from(["0", "1"]))),
    Call("pow", "input exponent", (INTEGER, st.just("2")), "square"),
    Call("bitwise_and bitwise_or bitwise_xor", "input other", (INTEGER, MASK)),
    Call("bitwise_and bitwise_or bitwise_xor", "input other", (CONDITION, CONDITION), "condition"),
    Call("logical_and logical_or logical_xor", "input other", (EITHER, EITHER), "condition"),
    Call("lt less le less_equal gt greater ge greater_equal", "input other", (INTEGER, OTHER), "condition"),
    Call("eq ne not_equal", "input other", (EITHER, OTHER), "condition"),
    Call("neg negative abs absolute positive bitwise_not clone detach", "input", (INTEGER,)),
    Call("bitwise_not clone detach", "input", (CONDITION,), "condition"),
    Call("logical_not", "input", (EITHER,), "condition"),
    Call("square", "input", (INTEGER,), "square"),
    Call("clamp clip", "input min max", (INTEGER, NUMBER, NUMBER)),
    Call("clamp_min", "input min", (INTEGER, NUMBER)),
    Call("clamp_max", "input max", (INTEGER, NUMBER)),
    Call("where", "condition input other", (CONDITION, INTEGER, OTHER)),
    Call("where", "condition input other", (CONDITION, CONDITION, CONDITION), "condition"),
    Call("max min", "input other", (INTEGER, INTEGER)),
    Call("isin", "elements test_elements", (INTEGER, st.just("TABLE")), spellings="function keywords"),
    Call("long int contiguous cpu", "input", (EITHER,), spellings="method"),
    Call("bool", "input", (EITHER,), "condition", spellings="method"),
    Call("to type", "input", (EITHER, st.sampled_from(["torch.int32", "torch.int64"])), spellings="method"),
    Call("to type", "input", (EITHER, st.just("torch.bool")), "condition", spellings="method"),
    Call("to type_as", "input", (EITHER, INTEGER), spellings="method"),
    Call("to type_as", "input", (EITHER, CONDITION), "condition", spellings="method"),
    Call(
        "to",
        "input",
        (INTEGER, st.sampled_from(["'cpu'", "device='cpu'", "q.device", "copy=True"])),
        spellings="method",
    ),
    Call("ones_like zeros_like", "input", (EITHER, st.just("dtype=torch.bool")), "condition", "function"),
    Call("ones_like zeros_like", "input", (INTEGER,), spellings="function"),
    Call("new_ones new_zeros", "", (EITHER, st.just("()"), st.just("dtype=torch.bool")), "condition", "method"),
)
# Spelled as operators, which the tests of from_mask_mod have; a look-up; and what only a GPU can do.
ELSEWHERE = {"floordiv", "mod", "lshift", "rshift", "pos", "and", "or", "xor", "invert", "getitem", "cuda"}


def spelled(call: Call, name: str, spelling: str, operands: list[str]) -> str:
    parameters = call.parameters.split()
    first, *rest = operands
    if spelling == "floor":
        return f'torch.{name}({first}, {rest[0]}, rounding_mode="floor")'
    if spelling == "alpha":
        return f"torch.{name}({first}, {rest[0]}, alpha=-3)"
    if spelling == "keywords":
        return f"torch.{name}({', '.join(map('{}={}'.format, parameters, operands))})"
    if spelling == "function":
        return f"torch.{name}({', '.join(operands)})"
    if name == "where":  # a method of its second parameter
        first, rest = operands[1], [operands[0], operands[2]]
    return f"{first}.{name}({', '.join(rest)})"


def test_every_known_name_is_here():
    listed = {name for call in CALLS for name in call.names.split()}
    assert listed | ELSEWHERE == set(known())
    assert not listed & ELSEWHERE


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.names.split()[0]} {call.spellings.split()[0]}")
@settings(max_examples=8)
@given(st.data())
def test_spellings(call, data):
    name = data.draw(st.sampled_from(call.names.split()))
    operands = [data.draw(operand) for operand in call.operands]
    bound = data.draw(st.integers(-5, 30))
    op = data.draw(st.sampled_from(["<", "<=", "==", "!=", ">=", ">"]))
    for spelling in call.spellings.split():
        text = spelled(call, name, spelling, operands)
        check(text if call.gives == "condition" else f"{text} {op} {bound}")


@given(INTEGER, INTEGER, st.integers(-3, 90), st.sampled_from(["<", "<=", "==", "!=", ">=", ">"]))
@settings(max_examples=25)
def test_squares(x, y, bound, op):
    for square in (f"torch.square({x})", f"{x} ** 2", f"{x} * {x}", f"torch.pow({x}, 2)"):
        check(f"{square} {op} {bound}")
    check(f"{bound} {op} {x} * {x}")
    check(f"{x} * {x} {op} {y} * {y}")
    check(f"{x} * {x} {op} torch.where(q < 3, 4, {bound})")


@pytest.mark.parametrize(
    "text",
    [
        "(q >= k).where(q < 10, k < 5)",
        "ONE.where(q < k, k) > 4",
        "q - k < 10 * 0.5",
        "(q - k) % 4.0 == 1.0",
        "(q & 7) == (k & 3)",
        "7 & q == 3",
        "(q < 3) & (k < 9) & True",
        "torch.isin(q - k, TABLE, invert=True)",
        "torch.isin(q, torch.arange(4)) & torch.isin(elements=k, test_elements=TABLE)",
        "torch.isin(k, torch.tensor([])) | (q == 3)",
        "q - k < ZERO[b] + 4",
    ],
)
def test_by_hand(text):
    check(text)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("q.to(torch.float32) > k", "a position as float32"),
        ("q.to(torch.int8) > k", "a position as int8"),
        ("q.byte() > k", "`.byte`"),
        ("torch.max(q, 0)[0] > k", "`max` along a dimension"),
        ("torch.div(q, 2) > k", "rounded by None"),
        ('torch.div(q, 2, rounding_mode="trunc") > k', "rounded by trunc"),
        ("(q & k) == 0", "`&`, `|` or `^` of two integers"),
        ("q * q + k * k < 25", "a product of two positions"),
        ("q * q < k", "a square beside a position"),
        ("torch.where(q, k, 3) > 2", "`where` by an integer"),
        ("torch.isin(TABLE, q)", "`isin` of a table in positions"),
        ("torch.isin(q, torch.tensor([0.5]))", "a float, 0.5"),
        ("torch.add(q < 3, k < 3, alpha=2)", "`alpha` of two conditions"),
        ("q < torch.tensor([3, 4])[b + 1]", "the batch index"),
        ("q < ZERO[k]", "a look-up in a tensor of torch.float32"),
        ("torch.ge(q, k, out=ONE)", "`ge` with these arguments"),
        ("q.new_ones((2,), dtype=torch.bool)", "a tensor of size (2,)"),
        ("q < float('inf')", "a float, inf"),
    ],
)
def test_refused_by_name(text, named):
    with pytest.raises(SparsecError) as info:
        sparsec.from_mask_mod(eval(f"lambda b, h, q, k: {text}", NAMES))
    assert [type(each) for each in info.value.diagnostics] == [NotImportable]
    assert named in str(info.value)
