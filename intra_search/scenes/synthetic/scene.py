"""One drawn road scene."""

import cv2
import numpy as np
from numpy.typing import NDArray

from intra_search.scenes.synthetic.areas import sample_gore, sample_median, sample_no_parking, sample_parking, sample_reduction
from intra_search.scenes.synthetic.camera import View, sample_camera
from intra_search.scenes.synthetic.canvas import Canvas
from intra_search.scenes.synthetic.chance import Chance
from intra_search.scenes.synthetic.junction import line_spans, sample_junction, sample_junction_markings
from intra_search.scenes.synthetic.lane_lines import sample_lines, sample_style
from intra_search.scenes.synthetic.marking import Marking, strip
from intra_search.scenes.synthetic.road import FARTHEST, NEAREST, Road, sample_road
from intra_search.scenes.synthetic.weather import lit, sample_weather


def draw_scene(seed: int, index: int, height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Image (H, W, 3) RGB and labels (H, W) of scene `index`: ApolloScape's train ids, 255 on the own hood.

    The same arguments always give the same bytes; another size shows the same scene."""
    chance = Chance(seed, index)
    road = sample_road(chance)
    camera = sample_camera(chance, road)
    weather = sample_weather(chance)
    markings = sample_markings(chance, road)
    canvas = Canvas(View(camera, road, height, width))
    horizon = int(max(0, canvas.view.horizon))
    canvas.image[:horizon] = weather.sky_low
    canvas.image[horizon:] = lit((90, 110, 70), weather)
    canvas.fill(strip(NEAREST, FARTHEST, road.left - road.margin, road.right + road.margin)[0], lit((95, 95, 98), weather))
    layer = canvas.draw_markings(markings, [lit((225, 225, 220), weather), lit((215, 165, 50), weather)])
    place = layer[..., 3] > 0
    canvas.image[place] = layer[place][:, :3]
    if weather.kind == "night":
        canvas.image = canvas.image // 2
    if chance.happens(0.4):
        center, axes = (width // 2, round(1.02 * height)), (round(0.45 * width), round(0.1 * height))
        cv2.ellipse(canvas.image, center, axes, 0, 0, 360, (40, 40, 45), -1)
        cv2.ellipse(canvas.labels, center, axes, 0, 0, 360, 255, -1)
    return canvas.image, canvas.labels


def sample_markings(chance: Chance, road: Road) -> list[Marking]:
    """All paint of a road, in the order in which it is laid."""
    junction = sample_junction(chance)
    spans = line_spans(junction)
    end = junction.stop - 1.0 if junction else FARTHEST
    solid_before = end - chance.uniform(8.0, 30.0) if junction and junction.is_crossroad else FARTHEST
    markings = sample_no_parking(chance, road, end) if junction is None else []
    markings += sample_reduction(chance, road, end)
    markings += sample_parking(chance, road, end)
    markings += sample_median(chance, road, spans)
    markings += sample_gore(chance, road, end)
    markings += sample_lines(chance, road, sample_style(chance), spans, solid_before)
    if junction:
        markings += sample_junction_markings(chance, road, junction)
    return markings
