"""Views per second with `scenes.cache` and without, on JPEG frames of CULane's size and on drawn scenes.

python tests/bench/bench_scene_cache.py [--frames 32] [--height 288] [--width 800]

One core. Each pass opens the data set anew, as the first trial of a process does; the cache lies in a temporary folder.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import cv2
import torch

from intra_search.config.scenes import ScenesSettings
from intra_search.scenes.scene_set import open_scenes
from intra_search.scenes.synthetic import draw_scene

FRAME = (590, 1640)
EPOCHS = 3


def write_frames(root: Path, count: int) -> None:
    """A `folder` data set of drawn roads as JPEG."""
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for number in range(count):
        image, labels = draw_scene(0, number, *FRAME)
        cv2.imwrite(str(root / f"images/f{number:03d}.jpg"), image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 92))
        cv2.imwrite(str(root / f"masks/f{number:03d}.png"), labels)
    classes = "".join(f"{index},class{index}\n" for index in range(64))
    (root / "classes.csv").write_text(f"index,name\n{classes}")
    (root / "groups.csv").write_text("name,group\n" + "".join(f"f{number:03d},g{number}\n" for number in range(count)))


def views_per_second(settings: ScenesSettings) -> float:
    """Speed of one epoch of training views, with the data set opened anew."""
    scenes = open_scenes(settings, "train")
    scenes.view(0, 0, 0)
    started = time.perf_counter()
    for index in range(len(scenes)):
        scenes.view(index, 1, 0)
    return len(scenes) / (time.perf_counter() - started)


def report(name: str, settings: dict[str, object]) -> None:
    augment = {"scale": (0.8, 1.25), "rotation": 3.0, "colour": 0.2}
    for recipe, chosen in (("as they are", {}), ("zoomed, turned and coloured", augment)):
        tree = {**settings, "augment": chosen}
        decoded = max(views_per_second(ScenesSettings.model_validate({**tree, "cache": False})) for _ in range(EPOCHS))
        cached = ScenesSettings.model_validate(tree)
        first = views_per_second(cached)
        later = max(views_per_second(cached) for _ in range(EPOCHS))
        print(
            f"{name}, {recipe}: {decoded:.0f} views/s decoded; cached {first:.0f} in the first epoch, "
            f"{later:.0f} later ({later / decoded:.1f} times)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--height", type=int, default=288)
    parser.add_argument("--width", type=int, default=800)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    size = {"height": options.height, "width": options.width}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["INTRA_SEARCH_CACHE"] = f"{folder}/cache"
        write_frames(Path(folder) / "data", options.frames)
        frames = {"dataset": "folder", "root": f"{folder}/data", "crop_top": 0.4, **size}
        report(f"{FRAME[1]}x{FRAME[0]} JPEG to {options.width}x{options.height}", frames)
        drawn = {"num_train": options.frames, "num_val": 1, "num_test": 1, "height": 80, "width": 208}
        report("drawn 208x80", drawn)


if __name__ == "__main__":
    main()
