"""How long 100,000 frames take to open, from a generated CULane tree of empty files: listed anew, then from the index.

Run: python tests/bench/bench_index.py [FRAMES]"""

import os
import sys
import tempfile
import time
from pathlib import Path

from intra_search.config.scenes import ScenesSettings
from intra_search.scenes.scene_set import open_scenes

FRAMES_PER_CLIP = 100


def _write_tree(root: Path, num_frames: int) -> None:
    lists: dict[str, list[str]] = {"train_gt": [], "val_gt": [], "test": []}
    for clip in range(num_frames // FRAMES_PER_CLIP):
        folder = f"driver_{clip % 5}_30frame/{clip:05d}.MP4"
        for part in (folder, f"laneseg_label_w16/{folder}"):
            (root / part).mkdir(parents=True)
        key = ("test", "val_gt", "train_gt", "train_gt", "train_gt")[clip % 5]
        for frame in range(FRAMES_PER_CLIP):
            name = f"{folder}/{frame:05d}"
            label = f"laneseg_label_w16/{name}.png"
            for path in (f"{name}.jpg", f"{name}.lines.txt", label):
                os.close(os.open(root / path, os.O_CREAT))
            lists[key].append(f"/{name}.jpg" if key == "test" else f"/{name}.jpg /{label} 1 1 1 0")
    (root / "list").mkdir()
    for key, lines in lists.items():
        (root / "list" / f"{key}.txt").write_text("\n".join(lines) + "\n")


def main() -> None:
    num_frames = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        os.environ["INTRA_SEARCH_CACHE"] = f"{folder}/cache"
        root = Path(folder) / "culane"
        _write_tree(root, num_frames)
        time.sleep(2.5)  # a tree that has just changed is not indexed
        settings = ScenesSettings(dataset="culane", root=str(root))
        seconds = []
        for _ in range(4):
            started = time.perf_counter()
            scenes = open_scenes(settings, "train")
            seconds.append(time.perf_counter() - started)
        started = time.perf_counter()
        assert scenes.fingerprint
        stated = time.perf_counter() - started
    best = min(seconds[1:])
    sys.stdout.write(
        f"{num_frames} frames: listed in {seconds[0]:.2f} s, opened from the index in {best:.2f} s "
        f"(ratio {seconds[0] / best:.1f}); fingerprint, which asks every file's size, {stated:.2f} s\n"
    )


if __name__ == "__main__":
    main()
