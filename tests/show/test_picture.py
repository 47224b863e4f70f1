"""PNG, differences, formats and where they go."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from sparsec.cli import app
from sparsec.ir import reference
from sparsec.ir.lower import lower
from sparsec.show import View, png
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


@pytest.mark.parametrize("n", [1, 7, 256, 600])
def test_png_is_the_mask(n: int) -> None:
    pattern = lower(parse(Source("a", A)))
    image = pixels(png(pattern, n, View((0, n), (0, n))))
    scale = max(1, 512 // n)
    cells = min(n, 512)
    assert image.shape == (cells * scale, cells * scale, 3)
    if n <= 512:
        mask = reference.mask(pattern.conditions[0], n, n).repeat(scale, axis=0).repeat(scale, axis=1)
        assert ((image != (38, 38, 42)).any(axis=2) == mask).all()


def test_png_of_two_masks_has_both() -> None:
    pattern = lower(parse(Source("c", HEADS)), heads=4)
    assert pixels(png(pattern, 64, View((0, 64), (0, 64)))).shape == (2 * 512 + 8, 512, 3)


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
        ["--tile", "64", "-o", "p.png"],
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
    assert [line for line in layers.output.splitlines() if "layer " in line] == [f"layer {i}" for i in range(5)]
    image = CliRunner().invoke(app, [*command, "--format", "png"]).stdout_bytes
    assert pixels(image).shape == (2 * 512 + 8, 3 * 512 + 16, 3)
    drawn = CliRunner().invoke(app, [*command, "--format", "svg"]).stdout
    places = [each.get("transform") for each in ElementTree.fromstring(drawn) if each.tag.endswith("g")]
    assert len({place.split()[0] for place in places}) == 3
    assert len({place.split()[1] for place in places}) == 2


@pytest.mark.parametrize("options", [["layers"], ["layers", "--layers", "65"], ["heads", "-o", "p.html"], ["rows"]])
def test_grids_that_cannot_be(files: Path, options: list[str]) -> None:
    assert show(files, "--grid", *options).exit_code == 2
