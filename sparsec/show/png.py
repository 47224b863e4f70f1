"""The picture as PNG: the shapes of the SVG on the same ground, two pixels for each of theirs, written with zlib."""

from __future__ import annotations

import struct
import zlib
from itertools import pairwise
from typing import Unpack

import numpy as np

from sparsec.ir.nodes import Pattern
from sparsec.show import glyphs
from sparsec.show.colour import PALETTE
from sparsec.show.figure import Shown, figure
from sparsec.show.raster import Raster, View
from sparsec.show.shapes import GROUND, Box, Cells, Path, Place, Shape, Words

CELLS = 512  # along an axis
SCALE = 2  # for dense screens
_DASH, _GAP = 6, 4


def png(pattern: Pattern, n: int, view: View, **shown: Unpack[Shown]) -> bytes:
    """The distinct masks with axes, curves and legend; `shown` as `figure` takes it."""
    drawn = figure(pattern, n, view, cells=CELLS, **shown)
    width, height = drawn.size
    image = np.full((height * SCALE, width * SCALE, 3), _rgb(GROUND), np.uint8)
    for shape in drawn.shapes:
        _paint(image, shape)
    return _encoded(image)


def _paint(image: np.ndarray, shape: Shape) -> None:
    match shape:
        case Box(at, size, fill, stroke, dashed):
            left, top, right, bottom = _edges(at, size)
            if fill:
                image[top:bottom, left:right] = _rgb(fill)
            if stroke:
                corners: tuple[Place, ...] = (left, top), (right, top), (right, bottom), (left, bottom), (left, top)
                for one, other in pairwise(corners):
                    _line(image, one, other, stroke, dashed)
        case Path(points, stroke):
            for one, other in pairwise([(x * SCALE, y * SCALE) for x, y in points]):
                _line(image, one, other, stroke)
        case Words((x, y), text, anchor, ink, upright):
            _write(image, (x * SCALE, y * SCALE), glyphs.drawn(text), anchor, ink, upright)
        case Cells(at, size, cells):
            left, top, right, bottom = _edges(at, size)
            rows, columns = cells.seen.shape
            down = np.arange(bottom - top) * rows // (bottom - top)
            across = np.arange(right - left) * columns // (right - left)
            ground = image[top:bottom, left:right]
            strength, hues = _strength(cells)[down][:, across, None], PALETTE[cells.owners % len(PALETTE)]
            ground[:] = np.rint(ground + (hues[down][:, across] - ground.astype(np.int64)) * strength)


def _strength(cells: Raster) -> np.ndarray:
    """How much of an operand's colour a cell has: more where more pairs are kept, none where none is."""
    return np.where(cells.shares > 0, 0.4 + 0.6 * cells.shares, 0.0)


def _line(
    image: np.ndarray, one: tuple[float, float], other: tuple[float, float], ink: str, dashed: bool = False
) -> None:
    """A line as wide as the scale."""
    steps = int(max(abs(other[0] - one[0]), abs(other[1] - one[1]))) * 2 + 1
    x, y = (np.rint(np.linspace(a, b, steps)).astype(np.int64) for a, b in zip(one, other, strict=True))
    if dashed:
        drawn = np.arange(steps) // 2 % (_DASH + _GAP) < _DASH
        x, y = x[drawn], y[drawn]
    for right in range(-(SCALE // 2), SCALE - SCALE // 2):
        for down in range(-(SCALE // 2), SCALE - SCALE // 2):
            image[np.clip(y + down, 0, len(image) - 1), np.clip(x + right, 0, image.shape[1] - 1)] = _rgb(ink)


def _write(
    image: np.ndarray, at: tuple[float, float], strength: np.ndarray, anchor: str, ink: str, upright: bool
) -> None:
    """Words whose ink covers `strength` of each pixel, float [rows, columns]; those beyond the picture are cut off."""
    wide = strength.shape[1]
    before = {"start": 0, "middle": wide // 2, "end": wide}[anchor]
    if upright:
        strength = np.rot90(strength)
        left, top = round(at[0]) - glyphs.BASE, round(at[1]) - (wide - before)
    else:
        left, top = round(at[0]) - before, round(at[1]) - glyphs.BASE
    cut = strength[max(0, -top) :, max(0, -left) :]
    ground = image[max(0, top) : top + len(strength), max(0, left) : left + strength.shape[1]]
    cut = cut[: ground.shape[0], : ground.shape[1], None]
    ground[:] = np.rint(ground + (np.array(_rgb(ink)) - ground.astype(np.int64)) * cut)


def _edges(at: tuple[float, float], size: tuple[float, float]) -> tuple[int, int, int, int]:
    left, top = round(at[0] * SCALE), round(at[1] * SCALE)
    return left, top, round((at[0] + size[0]) * SCALE), round((at[1] + size[1]) * SCALE)


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


def _encoded(rows: np.ndarray) -> bytes:
    """uint8 [rows, columns, 3] as PNG: 8 bits a channel, no filter, not interlaced."""
    header = struct.pack(">IIBBBBB", rows.shape[1], rows.shape[0], 8, 2, 0, 0, 0)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
