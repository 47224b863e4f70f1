"""Every code: its example produces it, its explanation is there, and the page in docs is current."""

import pickle
import re
from pathlib import Path

import pytest

from sparsec import diagnostics
from sparsec.diagnostics import CODES, SparsecError, explain, render
from sparsec.diagnostics.explain import errors_page
from sparsec.lower.file import lower_fully
from sparsec.source import Source
from sparsec.syntax.parse import parse
from sparsec.syntax.read import read

ROOT = Path(__file__).parents[1]
ANALYSED = {"SP0901", "SP0902", "SP0903", "SP0912", "SP0913"}  # found by proof, so not by lowering
ANALYSED |= {"SP0915", "SP0916"}  # of a file, tests/lint/test_inputs.py
ANALYSED |= {"SP0907", "SP0908", "SP0909", "SP0910", "SP0911", "SP0914"}  # tests/lint/test_advice.py
SPAT = [code for code in CODES if CODES[code].example.language == "spat" and code not in ANALYSED]


def found(code: str, folder: Path) -> tuple[diagnostics.Diagnostic, ...]:
    """What reading and lowering the example of a code reports."""
    example = CODES[code].example
    program, files = example.program()
    (folder / "example.spat").write_bytes(program)
    for name, text in files.items():
        (folder / name).write_text(text)
    given = {name: getattr(example, name) for name in ("heads", "layer", "layers", "parameters")}
    try:
        return lower_fully(parse(read(folder / "example.spat")), **given).warnings
    except SparsecError as error:
        return error.diagnostics


@pytest.mark.parametrize("code", SPAT)
def test_example_produces_its_code(code, tmp_path):
    reported = found(code, tmp_path)
    assert code in [item.code for item in reported]
    assert all(item.severity == CODES[code].severity for item in reported)
    for item in reported:
        assert render(item).startswith(f"{item.severity}[{item.code}]: ")
        assert "\x1b" not in render(item)
        assert "\x1b" in render(item, colour=True)


@pytest.mark.parametrize("code", [code for code in CODES if CODES[code].example.language == "python"])
def test_python_example_produces_its_code(code):
    """A generated module does not know sparsec: it raises errors of Python's that begin with the code."""
    if "transformers" in CODES[code].example.text:
        pytest.importorskip("transformers", reason="transformers is not installed (extra: test)")
    with pytest.raises((ValueError, TypeError, RuntimeError, SparsecError), match=rf"^(error)?\[{code}\]"):
        exec(compile(CODES[code].example.text, code, "exec"), {})


@pytest.mark.parametrize("code", CODES)
def test_complete(code):
    kind = CODES[code]
    assert re.fullmatch(r"SP0[1-9]\d\d", code)
    assert kind.__doc__
    assert not kind.__doc__.startswith(f"{kind.__name__}("), "dataclass wrote the docstring"
    for text in (kind.title, kind.message, kind.cure, kind.example.text):
        assert text
    assert kind.cure in explain(code.lower())


def test_page_is_current():
    assert (ROOT / "docs/errors.md").read_text() == errors_page(), "python -m sparsec.diagnostics > docs/errors.md"


def test_every_code_has_an_anchor_of_its_own():
    anchors = re.findall(r'<a id="(\w+)"></a>\n\n### (\w+):', errors_page())
    assert [anchor for anchor, _ in anchors] == sorted(code.lower() for code in CODES)
    assert all(anchor == code.lower() for anchor, code in anchors)


def test_all_exported():
    assert {kind.__name__ for kind in CODES.values()} <= set(diagnostics.__all__)


# ---------------------------------------------------------------- rendering


def errors(text: str, **given) -> str:
    with pytest.raises(SparsecError) as info:
        lower_fully(parse(Source("p.spat", text)), **given)
    return str(info.value)


def test_anatomy():
    assert errors("pattern p(w = 8) =\n    pas(w)\n") == (
        "error[SP0201]: unknown name `pas`\n"
        " --> p.spat:2:5\n"
        "  |\n"
        "2 |     pas(w)\n"
        "  |     ^^^ not defined\n"
        "  = help: did you mean `past`?"
    )


def test_tabs_and_wide_characters_keep_the_caret_in_place():
    assert errors('\t"日本" pattern p = pas(4)').splitlines()[3:5] == [
        '1 |  "日本" pattern p = pas(4)',
        "  |                     ^^^ not defined",
    ]


def test_long_lines_are_cut():
    text = errors("pattern p = causal " + "& causal " * 50 + "& pas(4)" + " & causal" * 20)
    assert max(map(len, text.splitlines())) < 130
    assert "& pas(4) &" in text


def test_odd_characters_are_not_printed():
    assert "\u202e" not in errors("pattern p = causal # \u202e x\n")
    assert "\x1b" not in errors("pattern p = causal # \x1b[2J\n")


def test_errors_can_be_pickled():
    with pytest.raises(SparsecError) as info:
        lower_fully(parse(Source("p.spat", "pattern p = pas(4)")))
    assert str(pickle.loads(pickle.dumps(info.value))) == str(info.value)
