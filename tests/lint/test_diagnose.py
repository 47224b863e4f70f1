"""All that is said about a text, in one call."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given

from sparsec.diagnostics import CODES
from sparsec.lint.diagnose import diagnose
from sparsec.source import Source
from sparsec.testing import texts

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.spat"))


def codes(text: str, **given) -> list[str]:
    return [each.code for each in diagnose(Source("p.spat", text), **given).diagnostics]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_need_nothing_said(path: Path) -> None:
    found = diagnose(Source(str(path), path.read_text()), heads=8, layer=0, layers=8)
    assert (found.valid, found.diagnostics, found.unbound) == (True, (), {})


def test_every_pattern_is_looked_at_and_nothing_is_said_twice() -> None:
    text = "set s = causal & window(4) | full\npattern a = s\npattern b = s | q < h\npattern c(w) = past(0) | past(w)\n"
    found = diagnose(Source("p.spat", text))
    assert [each.code for each in found.diagnostics] == ["SP0905"]
    assert {name: [each.code for each in asked] for name, asked in found.unbound.items()} == {
        "b": ["SP0401"],
        "c": ["SP0209"],
    }
    assert codes(text, pattern="c", parameters={"w": 4}) == ["SP0903"]


def test_errors_of_one_pattern_do_not_hide_the_warnings_of_another() -> None:
    assert codes("pattern a = past(8) | past(4)\npattern b = past(2 ** 40)\n") == ["SP0903", "SP0305"]


def test_a_file_of_sets_is_for_others_to_use() -> None:
    assert codes("set a = past(4)\n") == []
    assert codes("set a = pas(4)\n") == ["SP0201"]
    assert codes("") == ["SP0108"]
    assert codes("set a = past(4)\n", pattern="a") == ["SP0108"]


OF_A_CALL = {"SP0108", "SP0210"}  # a file of sets is well as it is, and all patterns of a file are looked at
SPAT = [code for code, kind in CODES.items() if kind.example.language == "spat" and not kind.example.make]


ADVICE = {"SP0907", "SP0908", "SP0909", "SP0910", "SP0911", "SP0914"}  # of test_advice.py


@pytest.mark.parametrize("code", sorted(set(SPAT) - OF_A_CALL - ADVICE))
def test_every_code_of_a_text_is_found(code: str, tmp_path: Path) -> None:
    example = CODES[code].example
    for name, text in example.files.items():
        (tmp_path / name).write_text(text)
    chosen = {name: getattr(example, name) for name in ("heads", "layer", "layers", "parameters")}
    found = diagnose(Source(str(tmp_path / "p.spat"), example.text), **chosen)
    asked = [each.code for needs in found.unbound.values() for each in needs]
    assert code in [*(each.code for each in found.diagnostics), *asked]


@given(texts.damaged(tuple(path.read_text() for path in EXAMPLES)))
def test_no_text_raises(data: bytes) -> None:
    diagnose(Source("p.spat", data.decode(errors="replace")), heads=2, layer=0, layers=2)
