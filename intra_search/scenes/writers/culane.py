"""Drawn scenes in CULane's layout: frames, .lines.txt, label masks, lists with flags, and the nine scenario lists."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from intra_search.scenes.lane_files import Lane, lanes_name, write_lanes
from intra_search.scenes.lane_masks import draw_lane_mask
from intra_search.scenes.source import Split
from intra_search.scenes.writers.files import write_image, write_mask
from intra_search.scenes.writers.order import DrawOrder
from intra_search.scenes.writers.road import (
    FARTHEST,
    Camera,
    Mood,
    Road,
    draw_ground,
    draw_road,
    paint_dividers,
    paint_mood,
)

SIZE = (590, 1640)
ROW_STEP = 10
"""Rows between two points of a lane."""
SCENARIOS: dict[str, Mood] = {
    "test0_normal.txt": Mood(),
    "test1_crowd.txt": Mood(cars=4),
    "test2_hlight.txt": Mood(light=1.2, glare=True),
    "test3_shadow.txt": Mood(shadows=True),
    "test4_noline.txt": Mood(paint=0.0),
    "test5_arrow.txt": Mood(cars=1),
    "test6_curve.txt": Mood(),
    "test7_cross.txt": Mood(paint=0.0),
    "test8_night.txt": Mood(light=0.3),
}
"""Scenario lists of the test frames, and how their scenes look. A crossing has no lanes, `noline` has no paint."""
_PAINT_WIDTH = 0.15
_PRESENT = ((1, 2, 3, 4), (1, 2, 3), (2, 3, 4), (2, 3))


class CulaneScene(NamedTuple):
    """One drawn scene."""

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    lanes: dict[int, Lane]
    """Points by class."""


def draw_culane_scene(order: DrawOrder, index: int) -> CulaneScene:
    """Scene number `index`. Of every nine scenes, each has another scenario."""
    random = np.random.default_rng((order.seed, index))
    scenario = list(SCENARIOS)[index % len(SCENARIOS)]
    mood = SCENARIOS[scenario]
    camera = Camera(0.9 * order.width, order.width / 2, order.height * random.uniform(0.42, 0.5), 1.5)
    present = () if "cross" in scenario else _PRESENT[int(random.integers(len(_PRESENT)))]
    road = draw_road(random, present, bend=0.008 if "curve" in scenario else 0.001)
    size = (order.height, order.width)
    image = draw_ground(random, camera, road, size)
    if mood.paint:
        paint_dividers(image, camera, road, _PAINT_WIDTH, (225, 225, 220))
    lanes = {divider.label: _points(camera, road, number, size) for number, divider in enumerate(road.dividers)}
    lanes = {label: points for label, points in lanes.items() if len(points) > 1}
    return CulaneScene(paint_mood(random, image, camera, mood), draw_lane_mask(lanes, *size), lanes)


def write_scene(out: Path, order: DrawOrder, index: int) -> None:
    """Frame, lanes and mask of one scene."""
    scene = draw_culane_scene(order, index)
    write_image(out / f"{_name(order, index)}.jpg", scene.image)
    write_lanes(out / lanes_name(f"{_name(order, index)}.jpg"), [scene.lanes[label] for label in sorted(scene.lanes)])
    write_mask(out / f"laneseg_label_w16/{_name(order, index)}.png", scene.labels)


def write_tables(out: Path, order: DrawOrder) -> None:
    """Writes the lists, from the masks that were written. A scenario without a test frame gets no list."""
    from PIL import Image

    lists: dict[Split, list[str]] = {"train": [], "val": [], "test": []}
    with_labels: dict[Split, list[str]] = {"train": [], "val": [], "test": []}
    scenarios: dict[str, list[str]] = {}
    for index in range(order.num_scenes):
        name, split = _name(order, index), order.split(index)
        mask = f"laneseg_label_w16/{name}.png"
        present = np.bincount(np.array(Image.open(out / mask)).ravel(), minlength=5)[1:5] > 0
        lists[split].append(f"/{name}.jpg")
        with_labels[split].append(f"/{name}.jpg /{mask} {' '.join(str(int(flag)) for flag in present)}")
        if split == "test":
            scenarios.setdefault(list(SCENARIOS)[index % len(SCENARIOS)], []).append(f"{name}.jpg")
    (out / "list" / "test_split").mkdir(parents=True)
    for split in ("train", "val"):
        _write_list(out / f"list/{split}_gt.txt", with_labels[split])
    for split, lines in lists.items():
        _write_list(out / f"list/{split}.txt", lines)
    for file, lines in scenarios.items():
        _write_list(out / "list" / "test_split" / file, lines)


def _points(camera: Camera, road: Road, number: int, size: tuple[int, int]) -> Lane:
    """Points (N, 2) of one divider, every ten rows from the bottom up, in the frame or a little beside it."""
    height, width = size
    points = []
    for row in range(height, int(camera.row(FARTHEST)), -ROW_STEP):
        z = camera.distance(row)
        column = round(camera.column(road.x(road.dividers[number], z), z), 3)
        if -0.05 * width <= column <= 1.05 * width:
            points.append((column, row))
    return np.array(points, np.float64).reshape(-1, 2)


def _name(order: DrawOrder, index: int) -> str:
    return f"driver_0_30frame/{order.recording(index):05d}.MP4/{30 * index:05d}"


def _write_list(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
