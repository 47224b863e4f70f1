"""The mask alone as a PNG image, written with zlib: colours as in the terminal, no words."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np

from sparsec.ir.nodes import Pattern
from sparsec.show.colour import pixels
from sparsec.show.page import Operands
from sparsec.show.raster import View, raster

SIDE = 512  # cells along an axis at most, and about as many pixels
_GAP, _GROUND = 8, 238  # pixels between two masks, and their grey


def png(
    pattern: Pattern,
    n: int,
    view: View,
    operands: Sequence[Operands] | None = None,
    columns: int = 1,
    compared: bool = False,
) -> bytes:
    """The distinct masks, each after the one before it, `columns` side by side."""
    masks = []
    for index, condition in enumerate(pattern.conditions):
        parts = operands[index] if operands else [("", condition)]
        cells = pixels(raster([part for _, part in parts], n, SIDE, SIDE, view, compared)).astype(np.uint8)
        scale = [max(1, SIDE // size) for size in cells.shape[:2]]
        masks.append(cells.repeat(scale[0], axis=0).repeat(scale[1], axis=1))
    (high, wide), columns = masks[0].shape[:2], min(columns, len(masks))
    down = -(-len(masks) // columns)
    image = np.full((down * (high + _GAP) - _GAP, columns * (wide + _GAP) - _GAP, 3), _GROUND, np.uint8)
    for index, mask in enumerate(masks):
        y, x = index // columns * (high + _GAP), index % columns * (wide + _GAP)
        image[y : y + high, x : x + wide] = mask
    return _encoded(image)


def _encoded(rows: np.ndarray) -> bytes:
    """uint8 [rows, columns, 3] as PNG: 8 bits a channel, no filter, not interlaced."""
    header = struct.pack(">IIBBBBB", rows.shape[1], rows.shape[0], 8, 2, 0, 0, 0)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
