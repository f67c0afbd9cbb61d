"""A canvas of braille dots over numpy: eight dots a cell, lines drawn a whole series at a time.

A plot library draws point by point and blocks for most of a second; here a
repaint is a handful of array operations.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

DOTS_X = 2
DOTS_Y = 4
_BITS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]], dtype=np.uint8)
_BRAILLE = 0x2800
_PLAIN = np.array([" ", ".", ":", "*"])


def line_mask(x: Floats, y: Floats, columns: int, rows: int) -> Mask:
    """Dots of a line through points; shape (rows, columns), row 0 at the top.

    `x` rises, in dots from the left (0 to columns); `y` in dots from below (0 to rows). NaN in `y` is a gap.
    Peaks between two dots are kept: every dot column shows the whole range the line has there.
    """
    mask: Mask = np.zeros((rows, columns), dtype=np.bool_)
    if x.size == 0 or columns <= 0 or rows <= 0:
        return mask
    # each point for itself: one between two gaps has no line
    inside = ~np.isnan(y) & (x >= 0) & (x < columns)
    mask[rows - 1 - _row(y[inside], rows), x[inside].astype(np.intp)] = True
    if x.size > 1:
        edges = np.arange(columns + 1, dtype=np.float64)
        edges = edges[(edges > x[0]) & (edges < x[-1])]
        xs = np.concatenate((x, edges))
        # A value beside a gap is a gap, or the line would run on to where nothing was measured.
        after = np.clip(np.searchsorted(x, edges, side="left"), 1, x.size - 1)
        before = after - 1
        step = x[after] - x[before]
        share = np.divide(edges - x[before], step, out=np.zeros_like(step), where=step > 0)
        ys = np.concatenate((y, y[before] + (y[after] - y[before]) * share))
        order = np.argsort(xs, kind="stable")
        xs, ys = xs[order], ys[order]
        middle = (xs[:-1] + xs[1:]) / 2
        known = ~np.isnan(ys[:-1]) & ~np.isnan(ys[1:]) & (middle >= 0) & (middle < columns)
        column = middle[known].astype(np.intp)
        one, two = _row(ys[:-1][known], rows), _row(ys[1:][known], rows)
        low = np.full(columns, rows, dtype=np.intp)
        high = np.full(columns, -1, dtype=np.intp)
        np.minimum.at(low, column, np.minimum(one, two))
        np.maximum.at(high, column, np.maximum(one, two))
        level = (rows - 1 - np.arange(rows))[:, None]
        mask |= (level >= low[None, :]) & (level <= high[None, :])
    return mask


def _row(y: Floats, rows: int) -> NDArray[np.intp]:
    return np.clip(np.rint(y), 0, rows - 1).astype(np.intp)


def dotted(mask: Mask, period: int) -> Mask:
    """The same line with every `period`-th pair of columns left out, to be told apart without colour."""
    keep = (np.arange(mask.shape[1]) // 2) % period != 0
    out: Mask = mask & keep[None, :]
    return out


def cell_bits(mask: Mask) -> NDArray[np.uint8]:
    """Braille patterns of the cells of a mask whose sides are whole cells; shape (rows / 4, columns / 2)."""
    rows, columns = mask.shape
    blocks = mask.reshape(rows // DOTS_Y, DOTS_Y, columns // DOTS_X, DOTS_X)
    weighted = blocks * _BITS[None, :, None, :]
    bits: NDArray[np.uint8] = weighted.sum(axis=(1, 3), dtype=np.uint8)
    return bits


def cell_text(bits: NDArray[np.uint8], braille: bool = True) -> list[str]:
    """One string per row of cells; without braille, denser cells get heavier ASCII signs."""
    if braille:
        codes = np.where(bits == 0, np.uint32(0x20), bits.astype(np.uint32) + np.uint32(_BRAILLE))
        return [row.tobytes().decode("utf-32-le") for row in codes.astype("<u4")]
    counts = np.unpackbits(bits[..., None], axis=-1).sum(axis=-1)
    return ["".join(row) for row in _PLAIN[np.clip((counts + 1) // 2, 0, 3)]]
