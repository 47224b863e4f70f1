"""The length at which a pattern is drawn where none is asked for: its structure is seen."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsec.ir import reference
from sparsec.ir.nodes import Pattern
from sparsec.lower.file import lower
from sparsec.show import picture, telling_length
from sparsec.source import Source
from sparsec.syntax.parse import parse
from sparsec.syntax.read import read
from sparsec.testing.programs import conditions

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.spat"))


def pattern(text: str) -> Pattern:
    return lower(parse(Source("p", f"pattern p = {text}")))


SCORES_ALONE = {"bloom"}  # its pairs are those of causal attention


@pytest.mark.parametrize(
    "path", [path for path in EXAMPLES if path.stem not in SCORES_ALONE], ids=lambda path: path.stem
)
def test_no_example_is_a_plain_triangle(path: Path) -> None:
    """Cells of a coarse picture differ from those of dense and of causal attention where the pattern does."""
    shown = lower(parse(read(str(path))), heads=8, layer=0, layers=8)
    n = telling_length(shown)
    plain = [picture(pattern(text).conditions[0], n, 48) for text in ("causal", "full")]
    for condition in shown.conditions:
        drawn = picture(condition, n, 48)
        assert drawn not in plain
        assert "+" in drawn or "#" in drawn


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("past(16)", 64, 64),
        ("past(512)", 2048, 2048),
        ("past(4096)", 16384, 16384),
        ("causal & q // 8192 == k // 8192", 32768, 32768),
        ("past(64) | causal & stride(512)", 2048, 2048),
        ("causal", 64, 64),
        ("full", 64, 64),
        ("k < 300 & q < 300", 300, 300),
        ("k // 3 == 0 & q in 0..7 | k // 3 == 2 & q in 7..12", 12, 12),
        ("blocks(16, [[3], [0]])", 64, 64),
        ("random_keys(64, 0)", 256, 1024),
        ("random_keys(65536, 0)", 64, 64),
    ],
)
def test_lengths(text: str, least: int, most: int) -> None:
    assert least <= telling_length(pattern(text)) <= most


@given(st.integers(1, 1 << 16))
def test_a_window_takes_about_a_quarter(w: int) -> None:
    n = telling_length(pattern(f"past({w}) | sinks(1)"))
    assert n >= 64
    assert n == 64 or 2 * w <= n <= 8 * w


@given(st.lists(conditions(), min_size=1, max_size=3))
def test_any_pattern_has_one(parts) -> None:
    n = telling_length(Pattern("p", "", "", (), tuple(parts)))
    assert 1 <= n <= 1 << 20
    if n < 64:  # a canvas: nothing is cut off
        assert all(reference.mask(part, n, n).sum() == reference.mask(part, 128, 128).sum() for part in parts)


def test_it_is_said_alike_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    import sparsec
    from sparsec.cli import app
    from sparsec.pipeline import compile

    (tmp_path / "m.spat").write_text("pattern m(w = 4096) = past(w)\n")
    assert "at n = 16,384:" in CliRunner().invoke(app, ["show", str(tmp_path / "m.spat")]).stdout
    assert "# At n = 16,384," in compile(read(str(tmp_path / "m.spat"))).source
    assert "at n = 16,384:" in sparsec.load(tmp_path / "m.spat").pattern._repr_svg_()
