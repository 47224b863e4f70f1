"""PNG, differences, formats and where they go."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from sparsec.cli import app
from sparsec.ir import reference
from sparsec.lower.file import lower
from sparsec.show import View, figure, glyphs, png, shapes, svg
from sparsec.show.png import SCALE
from sparsec.show.ticks import ticks
from sparsec.source import Source
from sparsec.syntax.parse import parse

A = "pattern a(w = 16) = past(w) | sinks(4)\n"
B = "pattern b(w = 8) = window(w)\n"
HEADS = "pattern c = match h { 0 -> past(8), else -> past(16) }\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, text in (("a", A), ("b", B), ("c", HEADS)):
        (tmp_path / f"{name}.spat").write_text(text)
    return tmp_path


def show(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["show", str(folder / "a.spat"), *map(str, options)])


def pixels(data: bytes) -> np.ndarray:
    """uint8 [rows, columns, 3] of a PNG of the kind that is written; its checksums are checked."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    place, body = 8, b""
    while place < len(data):
        size, kind = struct.unpack(">I4s", data[place : place + 8])
        content = data[place + 8 : place + 8 + size]
        assert zlib.crc32(kind + content) == struct.unpack(">I", data[place + 8 + size : place + 12 + size])[0]
        if kind == b"IHDR":
            columns, rows = struct.unpack(">II", content[:8])
        body += content if kind == b"IDAT" else b""
        place += 12 + size
    lines = np.frombuffer(zlib.decompress(body), np.uint8).reshape(rows, 1 + 3 * columns)
    assert not lines[:, 0].any()
    return lines[:, 1:].reshape(rows, columns, 3)


def mask_of(image: np.ndarray, n: int, row: int = 0, high: int = 0) -> np.ndarray:
    """Bool [n, n]: the cells of a square mask in a PNG that are not of the colour of empty ones."""
    side = figure.SIDE * SCALE
    middles = ((np.arange(n) + 0.5) * side / n).astype(int)
    top, left = figure.TOP * SCALE + row * high, figure.LEFT * SCALE
    return (image[top + middles[:, None], left + middles] != pixel(shapes.EMPTY)).any(axis=2)


def pixel(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


@pytest.mark.parametrize("n", [1, 7, 256, 400])
def test_png_is_the_mask(n: int) -> None:
    pattern = lower(parse(Source("a", A)))
    image = pixels(png(pattern, n, View((0, n), (0, n))))
    assert (mask_of(image, n) == reference.mask(pattern.conditions[0], n, n)).all()


def test_png_of_two_masks_has_both() -> None:
    pattern = lower(parse(Source("c", HEADS)), heads=4)
    image = pixels(png(pattern, 64, View((0, 64), (0, 64))))
    for row, condition in enumerate(pattern.conditions):
        assert (mask_of(image, 64, row, len(image) // 2) == reference.mask(condition, 64, 64)).all()


@pytest.mark.parametrize("shape", [(12, 9, 0), (3, 40, -1), (40, 3, 5)])
def test_oblong_masks_keep_their_shape(shape: tuple[int, int, int]) -> None:
    n_q, n, first = shape
    drawn = figure.figure(lower(parse(Source("a", A))), n, View((first, first + n_q), (0, n)), cells=64)
    (cells,) = [each for each in drawn.shapes if isinstance(each, shapes.Cells)]
    assert max(cells.size) == figure.SIDE
    assert cells.size[1] / cells.size[0] == pytest.approx(min(4, max(1 / 4, n_q / n)))
    assert cells.raster.kept.sum() == reference.mask(lower(parse(Source("a", A))).conditions[0], n_q, n, first).sum()


def test_svg_and_png_have_one_ground_and_the_same_words() -> None:
    pattern, view = lower(parse(Source("a", A))), View((0, 1024), (0, 1024))
    drawn = ElementTree.fromstring(svg(pattern, 1024, view))
    assert drawn[0].get("fill") == shapes.GROUND
    image = pixels(png(pattern, 1024, view))
    assert tuple(image[0, 0]) == pixel(shapes.GROUND)
    assert image.shape[:2] == (SCALE * int(drawn.get("height")), SCALE * int(drawn.get("width")))
    words = [each.text for each in drawn.iter() if each.tag.endswith("text")]
    for expected in ("a(w = 16) at n = 1,024: queries down, keys across", "key k", "query q", "0", "512", "1,023"):
        assert expected in words
    assert "keys of a query, up to 20" in words
    assert "queries of a key, up to 1,024" in words
    shown = [each for each in figure.figure(pattern, 1024, view, cells=64).shapes if isinstance(each, shapes.Words)]
    for each in shown:
        x, y = (round(place * SCALE) for place in each.at)
        near = image[max(0, y - 30) : y + 30, max(0, x - 30) : x + 30]
        assert not each.text or (near != pixel(shapes.GROUND)).any(axis=2).sum() > 20, each


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_any_words_are_drawn(text: str) -> None:
    drawn = glyphs.drawn(text)
    assert drawn.shape[0] == glyphs.HIGH
    assert 0 <= drawn.min(initial=0) <= drawn.max(initial=0) <= 1
    assert drawn.any() == bool(text.strip(" "))


@given(st.integers(-(10**6), 10**6), st.integers(1, 10**6), st.integers(1, 12))
def test_ticks_are_few_and_stand_apart(first: int, length: int, most: int) -> None:
    found = ticks((first, first + length), most)
    assert found == sorted(set(found))
    assert (found[0], found[-1]) == (first, first + length - 1)
    assert len(found) <= most + 2
    gaps = np.diff(found)
    assert len(set(gaps[1:-1])) <= 1
    assert not len(gaps) or gaps.min() >= 0.3 * gaps.max()


def test_difference_counts_each_side(files: Path) -> None:
    a, b = (reference.mask(lower(parse(Source("p", text))).conditions[0], 64, 64) for text in (A, B))
    result = show(files, "--diff", files / "b.spat", "--n", "64")
    assert result.exit_code == 0, result.output
    for share in (a & ~b, b & ~a, a & b):
        assert f"{100 * share.mean():.3g} %" in result.output
    assert f"{(a | b).sum():,} of 4,096 pairs" in result.output


def test_difference_by_heads(files: Path) -> None:
    result = show(files, "--diff", files / "c.spat", "--n", "64", "--heads", "4")
    assert "head 0\n" in result.output
    assert "heads 1, 2, 3\n" in result.output


@pytest.mark.parametrize(
    ("name", "start"), [("p.svg", b"<svg"), ("p.PNG", b"\x89PNG"), ("p.html", b"<!DOCTYPE"), ("p.txt", b"a(w = 16)")]
)
def test_the_name_says_the_format(files: Path, name: str, start: bytes) -> None:
    assert show(files, "-o", files / name).exit_code == 0
    assert (files / name).read_bytes().startswith(start)
    assert len(list(files.iterdir())) == 4


def test_format_wins_over_the_name_and_prints_without_one(files: Path) -> None:
    assert show(files, "-o", files / "p.bin", "--format", "png").exit_code == 0
    assert (files / "p.bin").read_bytes().startswith(b"\x89PNG")
    assert show(files, "--format", "svg").stdout.startswith("<svg")
    assert show(files, "--format", "png").stdout_bytes == (files / "p.bin").read_bytes()


@pytest.mark.parametrize(
    "options",
    [
        ["-o", "p.gif"],
        ["--format", "gif"],
        ["--tile", "64", "-o", "p.txt"],
        ["--diff", "b.spat", "-o", "p.html"],
        ["--k", "0:99999", "-o", "p.png"],
    ],
)
def test_usage_errors_leave_no_file(files: Path, options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    assert show(files, *options).exit_code == 2
    assert len(list(files.iterdir())) == 3


def test_a_folder_in_the_way_stays(files: Path) -> None:
    (files / "p.png").mkdir()
    assert show(files, "-o", files / "p.png").exit_code == 1
    assert len(list(files.iterdir())) == 4


LAYERS = "pattern d = match layer % 2 { 0 -> past(8) | sinks(2), else -> past(16) }\n"


def test_grid_has_every_head_and_every_layer(files: Path) -> None:
    (files / "d.spat").write_text(LAYERS)
    heads = CliRunner().invoke(app, ["show", str(files / "c.spat"), "--heads", "5", "--grid", "heads", "--n", "32"])
    assert [line for line in heads.output.splitlines() if line.startswith("head ")] == [f"head {i}" for i in range(5)]
    command = ["show", str(files / "d.spat"), "--layers", "5", "--grid", "layers", "--n", "32"]
    layers = CliRunner().invoke(app, command)
    assert [line for line in layers.output.splitlines() if line.startswith("layer")] == [
        "layers 0, 2, 4",
        "layers 1, 3",
    ]
    assert all(word in layers.output for word in ("past(8) ", "sinks(2) ")), "operands of an arm"
    both = CliRunner().invoke(app, ["show", str(files / "d.spat"), "--layers", "5", "--n", "32"])
    assert both.output == layers.output, "all distinct layers, without being asked for a grid"
    drawn = CliRunner().invoke(app, [*command, "--format", "svg"]).stdout
    masks = [each for each in ElementTree.fromstring(drawn) if each.tag.endswith("g")]
    cells = [[(float(rect.get("x")), float(rect.get("y"))) for rect in mask] for mask in masks]
    lefts, tops = ({round(min(each[axis] for each in mask)) for mask in cells} for axis in (0, 1))
    assert (len(masks), len(lefts), len(tops)) == (2, 2, 1), "side by side"


@pytest.mark.parametrize("options", [["layers"], ["heads", "-o", "p.html"], ["rows"]])
def test_grids_that_cannot_be(files: Path, options: list[str]) -> None:
    assert show(files, "--grid", *options).exit_code == 2


def test_operands_beyond_some_stand_together(tmp_path: Path) -> None:
    bands = " | ".join(f"q - k in {7 * i}..{7 * i + 3}" for i in range(300))
    (tmp_path / "a.spat").write_text(f"pattern p = {bands}\n")
    lines = show(tmp_path, "--n", "512").stdout.splitlines()
    assert lines[-2].startswith("277 others ")
    assert len(lines) < 80
