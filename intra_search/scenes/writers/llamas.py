"""Drawn scenes in LLAMAS' layout: JSON labels with markers in metres and pixels, images painted from the same markers.

The official test labels are private, so there is no test folder: the drawn test scenes are in `valid`, all others in
`train`, from which the reader makes the same split.
"""

import json
from pathlib import Path

import numpy as np

from intra_search.scenes.llamas_labels import SIZE as LLAMAS_SIZE
from intra_search.scenes.llamas_labels import draw_lane, read_label
from intra_search.scenes.writers.files import write_image
from intra_search.scenes.writers.order import DrawOrder
from intra_search.scenes.writers.road import Camera, Divider, Mood, Road, draw_ground, draw_road, paint_mood

SIZE = LLAMAS_SIZE[::-1]
"""The only possible size: label masks are drawn at the data set's own size."""
CAMERA = Camera(focal=1490.0, center=638.0, horizon=376.0, height=1.6)
_NAMES = {1: "l1", 2: "l0", 3: "r0", 4: "r1"}
_PRESENT = ((1, 2, 3, 4), (1, 2, 3, 4), (1, 2, 3), (2, 3, 4), (2, 3))
_MOODS = (Mood(), Mood(light=0.8), Mood(light=1.15), Mood(shadows=True), Mood(cars=2), Mood(glare=True))


def write_scene(out: Path, order: DrawOrder, index: int) -> None:
    """Label and image of one scene; the image's markers are drawn by the function that the reader uses."""
    random = np.random.default_rng((order.seed, index))
    road = draw_road(random, _PRESENT[int(random.integers(len(_PRESENT)))], bend=0.001)
    # Only dashes, since the data set labels dashes; a solid line would be one endless marker.
    road = road._replace(dividers=tuple(divider._replace(dashed=True) for divider in road.dividers))
    folder = "valid" if order.split(index) == "test" else "train"
    place = f"{folder}/drive-{order.recording(index):03d}"
    stamp = f"{1400000000 + index}_0000000000"
    path = out / "labels" / place / f"{stamp}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_label(road, stamp), indent=1), encoding="utf-8")
    image = draw_ground(random, CAMERA, road, SIZE)
    label = read_label(path)
    for lane in label.lanes:
        draw_lane(image, lane, label.projection, (230, 230, 220))
    mood = _MOODS[int(random.integers(len(_MOODS)))]
    write_image(out / "color_images" / place / f"{stamp}_color_rect.png", paint_mood(random, image, CAMERA, mood))


def write_tables(out: Path, order: DrawOrder) -> None:
    """Nothing to write: the layout has no lists."""


def _label(road: Road, stamp: str) -> dict[str, object]:
    matrix = [[CAMERA.focal, 0, CAMERA.center], [0, CAMERA.focal, CAMERA.horizon], [0, 0, 1]]
    lanes = [{"lane_id": _NAMES[divider.label], "markers": _markers(road, divider)} for divider in road.dividers]
    return {"image_name": stamp, "projection_matrix": matrix, "lanes": lanes}


def _markers(road: Road, divider: Divider) -> list[dict[str, object]]:
    markers: list[dict[str, object]] = []
    for number, (near, far) in enumerate(divider.dashes()):
        marker: dict[str, object] = {"lane_marker_id": str(number)}
        for end, z in (("start", near), ("end", far)):
            x = road.x(divider, z)
            # Numbers as text, as in the official files.
            marker[f"world_{end}"] = {"x": f"{x:.4f}", "y": f"{CAMERA.height:.4f}", "z": f"{z:.4f}"}
            marker[f"pixel_{end}"] = {"x": str(int(CAMERA.column(x, z))), "y": str(int(CAMERA.row(z)))}
        markers.append(marker)
    return markers
