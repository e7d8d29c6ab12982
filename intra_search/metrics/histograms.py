"""Exact counts of 8-bit values and of pairs of them. Several times as fast as numpy's bincount, which converts every
value to 64 bits and is slow where one value repeats."""

import cv2
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int64]

_BLOCK = 8  # bytes of a 64-bit word
_REPEATED = np.uint64(0x0101010101010101)
_EXACT_FLOAT = 2**24  # OpenCV hands counts back as 32-bit floats; they are exact up to here


def value_counts(image: Bytes) -> Counts:
    """How often each value 0..255 occurs: (256,).

    Eight equal bytes, which make up most of a probability map, are counted at once.
    """
    values = np.ascontiguousarray(image).reshape(-1)
    end = values.size // _BLOCK * _BLOCK
    words = values[:end].view(np.uint64)
    first = words & np.uint64(255)
    uniform = words == first * _REPEATED
    mixed = words[~uniform].view(np.uint8)
    half = mixed.size // 2  # a word is even, so the halves are equal
    pairs = pair_counts(mixed[:half], mixed[half:])
    counts: Counts = pairs.sum(axis=0) + pairs.sum(axis=1)
    counts += _BLOCK * np.bincount(first[uniform].astype(np.uint8), minlength=256)
    counts += np.bincount(values[end:], minlength=256)
    return counts


def pair_counts(one: Bytes, other: Bytes) -> Counts:
    """How often each pair of values occurs at one place of two arrays of one shape: (256, 256), rows of `one`."""
    first, second = (np.ascontiguousarray(values).reshape(1, -1) for values in (one, other))
    counts = np.zeros((256, 256), np.int64)
    for start in range(0, first.size, _EXACT_FLOAT):
        part = [values[:, start : start + _EXACT_FLOAT] for values in (first, second)]
        counts += cv2.calcHist(part, [0, 1], None, [256, 256], [0, 256, 0, 256]).astype(np.int64)
    return counts
