"""Speed of drawn scenes beside decoding and resizing a JPEG, which is what a loader of real frames does.

python tests/bench/bench_scenes.py [--scenes 300] [--height 160] [--width 416]

Both use one core and take turns, so that a busy machine slows both. Needs no data.
"""

import argparse
import time
from collections.abc import Callable

import cv2
import numpy as np

from intra_search.scenes.synthetic import draw_scene

_TURN = 25
"""Scenes per turn."""
_SOURCE_SCALE = 2
"""The JPEG is this much larger than the picture, as stored frames are."""


def encoded_scene(index: int, height: int, width: int) -> np.ndarray:
    image, _ = draw_scene(0, index, _SOURCE_SCALE * height, _SOURCE_SCALE * width)
    return np.asarray(cv2.imencode(".jpg", image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 92))[1])


def decode(jpeg: np.ndarray, height: int, width: int) -> None:
    cv2.resize(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), (width, height), interpolation=cv2.INTER_AREA)


def seconds(work: Callable[[int], object], first: int) -> float:
    start = time.process_time()
    for index in range(first, first + _TURN):
        work(index)
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--height", type=int, default=160)
    parser.add_argument("--width", type=int, default=416)
    options = parser.parse_args()
    height, width = options.height, options.width
    cv2.setNumThreads(1)
    jpegs = [encoded_scene(index, height, width) for index in range(_TURN)]
    draw_scene(0, 0, height, width)
    drawing = decoding = 0.0
    num_turns = max(1, options.scenes // _TURN)
    for turn in range(num_turns):
        drawing += seconds(lambda index: draw_scene(0, index, height, width), turn * _TURN)
        decoding += seconds(lambda index: decode(jpegs[index % _TURN], height, width), turn * _TURN)
    num = num_turns * _TURN
    print(f"drawn scenes, {height}x{width}, one core: {num / drawing:.0f} scenes/s ({1000 * drawing / num:.2f} ms)")
    source = f"{_SOURCE_SCALE * height}x{_SOURCE_SCALE * width}"
    print(f"decode a {source} JPEG and resize: {num / decoding:.0f} images/s ({1000 * decoding / num:.2f} ms)")
    print(f"a drawn scene costs {drawing / decoding:.2f} times as much as a decoded one")


if __name__ == "__main__":
    main()
