"""Calls as newcomers write them: arguments of other attention functions, transposed tensors; what an operator shows."""

from __future__ import annotations

import ast
import copy
import inspect
import pickle
import sys

import numpy as np
import pytest
import torch
from torch.nn.attention.flex_attention import flex_attention

import sparsec
import sparsec.nn
from sparsec.runtime import foreign


@pytest.fixture(scope="module")
def attend():
    return sparsec.compile("pattern p(w = 32) = past(w) | sinks(4)", heads=4, layer=np.int64(3), layers=12)


@pytest.fixture(scope="module")
def q():
    return torch.rand(2, 4, 30, 16)


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"is_causal": False}, "causal & past"),
        ({"attn_mask": None}, "from_mask_mod"),
        ({"attn_dropout": 0.0}, "`dropout_p` here"),
        ({"enable_gqa": True}, "multiple of H_kv"),
        ({"block_mask": None}, "from_mask_mod"),
        ({"score_mod": None}, "the text of the pattern says it"),
        ({"window_size": (8, 0)}, "past"),
        ({"softmax_scale": 0.1}, "`scale`"),
        ({"key_padding_mask": None}, "`lengths`"),
        ({"cu_seqlens_q": None}, "`documents=cu_seqlens`"),
        ({"w": 3}, "deterministic and return_lse"),
        ({"return_lsee": True}, "did you mean `return_lse`"),
        ({"scale": 0.5, "drop_out": 0.1}, "`dropout_p` here"),
    ],
    ids=str,
)
def test_foreign_keywords(attend, q, keywords, said):
    for call in (attend, sparsec.nn.Attend(attend)):
        with pytest.raises(TypeError, match=r"^\[SP0611\]") as caught:
            call(q, q, q, **keywords)
        assert said in str(caught.value)
        assert f"`{list(keywords)[-1]}`" in str(caught.value)


def test_arguments_of_scaled_dot_product_attention_are_known():
    """Every one that torch's own function takes beside the tensors."""
    torch_takes = {"attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa"}
    assert torch_takes - {"scale", "dropout_p"} <= foreign._HINT_OF.keys()
    flex = inspect.signature(flex_attention).parameters
    known = {"query", "key", "value", "scale", "return_lse", *foreign._HINT_OF}
    assert flex.keys() - known == set()


def test_a_fourth_argument(attend, q):
    with pytest.raises(TypeError, match=r"^\[SP0611\].*scale=0.125"):
        attend(q, q, q, 0.125)
    with pytest.raises(TypeError, match=r"^\[SP0611\].*from_mask_mod"):
        attend(q, q, q, torch.ones(30, 30, dtype=torch.bool))


def test_heads_that_were_given_are_checked_though_the_text_knows_none(attend, q):
    assert attend(q, q, q).shape == q.shape
    with pytest.raises(ValueError, match=r"^\[SP0604\].*4 query heads, got 30: is this \[B, n, H, D\]\?"):
        attend(*[q.transpose(1, 2)] * 3)
    with pytest.raises(ValueError, match=r"^\[SP0604\].*got 3$"):
        attend(*[q[:, :3]] * 3)
    again = pickle.loads(pickle.dumps(attend))
    with pytest.raises(ValueError, match=r"^\[SP0604\]"):
        again(*[q[:, :3]] * 3)
    anything = sparsec.compile("pattern p(w = 32) = past(w) | sinks(4)")
    assert anything.source == attend.source
    assert anything(*[q[:, :3]] * 3).shape == (2, 3, 30, 16)


def test_heads_of_patterns_by_head():
    attend = sparsec.compile("pattern p = match h { 0 -> past(3), else -> causal }", heads=4)
    with pytest.raises(ValueError, match=r"\[B, n, H, D\]"):
        attend(*[torch.rand(2, 30, 4, 16)] * 3)


def test_repr_shows_what_is_bound(attend):
    assert repr(attend) == "<sparsec.Attend p(w=32), heads=4, layer=3, layers=12>"
    assert repr(attend.pattern) == "p(w=32), heads=4, layer=3, layers=12"
    assert repr(pickle.loads(pickle.dumps(attend))) == repr(attend)


def test_module(attend, q):
    module = sparsec.nn.Attend(attend)
    assert "p(w=32), heads=4, layer=3, layers=12" in repr(torch.nn.Sequential(module))
    assert not module.state_dict()
    for same in (module, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(same(q, q, q, scale=0.3, return_lse=True)[1], attend(q, q, q, scale=0.3, return_lse=True)[1])
    torch._dynamo.reset()
    assert torch.equal(torch.compile(module, fullgraph=True, backend="eager")(q, q, q), attend(q, q, q))
    with pytest.raises(TypeError, match=r"sparsec\.load"):
        sparsec.nn.Attend("pattern p = causal")


# ---------------------------------------------------------------- compiling a pattern within torch.compile


def test_compiling_within_a_compiled_function(q, tmp_path):
    """Not traced: the graph ends there and begins anew, and where it may not, the message says what to do."""
    (tmp_path / "p.spat").write_text("pattern first = past(3)\npattern second(w = 7) = past(w)")
    path = str(tmp_path / "p.spat")

    def block(q):
        other = sparsec.load(path, pattern="second", w=5)
        return sparsec.compile("pattern cold(w = 9) = past(w) & q % 7 != 3", w=11, heads=4)(q, q, q) + other(q, q, q)

    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(block, backend="aot_eager")(q), block(q))
    torch._dynamo.reset()
    with pytest.raises(torch._dynamo.exc.Unsupported, match="for fullgraph=True, compile it before"):
        torch.compile(block, fullgraph=True, backend="aot_eager")(q)


def test_a_module_that_compiles_its_pattern_when_it_is_first_called(q):
    class Lazy(torch.nn.Module):
        attend = None

        def forward(self, q):
            if self.attend is None:
                self.attend = sparsec.compile("pattern lazy = past(6) & q % 5 != 3")
            return self.attend(q, q, q)

    torch._dynamo.reset()
    module = Lazy()
    expected = sparsec.compile("pattern lazy = past(6) & q % 5 != 3")(q, q, q)
    assert torch.equal(torch.compile(module, backend="eager")(q), expected)
    assert torch.equal(torch.compile(module, fullgraph=True, backend="eager")(q), expected)


def test_warnings_point_at_the_caller_also_once_torch_compile_is_loaded():
    assert "torch._dynamo" in sys.modules
    with pytest.warns(sparsec.PatternWarning) as caught:
        sparsec.compile("pattern causal_window = window(8)")
    assert caught[0].filename == __file__


def test_type_checkers_know_what_comes_back(attend):
    """One tensor, or two with `return_lse`: overloads of every call."""
    from typing import get_overloads

    from sparsec.hook import Operator
    from sparsec.kernels.operator import op

    for function in (sparsec.Attend.__call__, Operator.__call__):
        given, returned = [], []
        for each in get_overloads(function):
            signature = inspect.signature(each)
            given.append(str(signature.parameters["return_lse"].annotation).removeprefix("typing."))
            returned.append(inspect.formatannotation(signature.return_annotation).strip("'").replace("torch.", ""))
        assert given[:2] == ["Literal[False]", "Literal[True]"], function
        assert "bool" in given[2]
        assert returned == ["Tensor", "tuple[Tensor, Tensor]", "Tensor | tuple[Tensor, Tensor]"]
    generated = attend._function  # a protocol, which has no function of its own that could be asked
    assert f"@_OPERATOR.public\ndef {generated.__name__}(" in inspect.getsource(sys.modules[generated.__module__])
    assert attend._operator.public(generated) is generated
    assert inspect.signature(op.Operator.public).return_annotation == "Attention"
    body = ast.parse(inspect.getsource(op.Attention)).body[0].body
    calls = [each for each in body if isinstance(each, ast.FunctionDef)]
    assert [ast.unparse(each.returns) for each in calls] == returned
    assert [ast.unparse(each.args.kwonlyargs[-1].annotation) for each in calls] == given
