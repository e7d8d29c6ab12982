"""One drawn road scene."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from intra_search.scenes.synthetic.areas import sample_area, sample_median
from intra_search.scenes.synthetic.atmosphere import (
    Atmosphere,
    add_glow,
    add_haze,
    add_rain,
    finish,
    paint_sky,
    reflect,
    sample_atmosphere,
)
from intra_search.scenes.synthetic.camera import Camera, View, sample_camera
from intra_search.scenes.synthetic.canvas import Canvas
from intra_search.scenes.synthetic.chance import Chance
from intra_search.scenes.synthetic.face import Thing
from intra_search.scenes.synthetic.hood import Hood, draw_hood, sample_hood
from intra_search.scenes.synthetic.junction import (
    Junction,
    line_spans,
    sample_junction,
    sample_junction_markings,
    side_street,
)
from intra_search.scenes.synthetic.lane_lines import sample_lines, sample_style
from intra_search.scenes.synthetic.light import GAIN_ONE, ground_gain, ground_texture, worn_cover
from intra_search.scenes.synthetic.marking import Marking
from intra_search.scenes.synthetic.pavement import Pavement, sample_pavement
from intra_search.scenes.synthetic.road import FARTHEST, Road, sample_road
from intra_search.scenes.synthetic.surroundings import sample_surroundings
from intra_search.scenes.synthetic.traffic import Vehicle, sample_traffic, vehicle_shades, vehicle_thing
from intra_search.scenes.synthetic.weather import Color, Weather, lit, sample_weather

Image = NDArray[np.uint8]


class Contents(NamedTuple):
    """All that a scene contains; independent of the picture's size."""

    road: Road
    camera: Camera
    weather: Weather
    atmosphere: Atmosphere
    pavement: Pavement
    markings: list[Marking]
    paints: tuple[Color, Color]
    vehicles: list[Vehicle]
    roadside: list[Thing]
    hood: Hood | None


def draw_scene(seed: int, index: int, height: int, width: int) -> tuple[Image, Image]:
    """Image (H, W, 3) RGB and labels (H, W) of scene `index`: ApolloScape's train ids, 255 on the own hood.

    The same arguments always give the same bytes. Another size shows the same scene."""
    contents = sample_contents(Chance(seed, index))
    canvas = Canvas(View(contents.camera, contents.road, height, width))
    _draw_ground(canvas, contents)
    weather, horizon = contents.weather, _horizon(canvas.view)
    things = [vehicle_thing(vehicle, contents.camera.across, weather) for vehicle in contents.vehicles]
    canvas.draw_things(contents.roadside + things)
    if weather.wet:
        reflect(canvas, horizon, weather.wet)
    if weather.kind in ("night", "dusk", "rain"):
        add_glow(canvas, contents.vehicles, weather)
    if weather.kind == "rain":
        add_rain(canvas.image, contents.atmosphere)
    if contents.hood is not None:
        draw_hood(canvas, contents.hood, weather)
    finish(canvas.image, weather, contents.atmosphere)
    return canvas.image, canvas.finished_labels()


def sample_contents(chance: Chance) -> Contents:
    """Random contents of a scene."""
    road = sample_road(chance)
    weather = sample_weather(chance)
    white, worn = chance.uniform(205, 240), chance.uniform(0.9, 1.05)
    yellow = (chance.uniform(205, 235), chance.uniform(150, 180), chance.uniform(30, 75))
    camera = sample_camera(chance, road)
    vehicles = sample_traffic(chance, road, weather)
    junction = sample_junction(chance)
    pavement = sample_pavement(chance, road, weather, side_street(junction))
    return Contents(
        road=road,
        camera=camera,
        weather=weather,
        atmosphere=sample_atmosphere(chance),
        pavement=pavement._replace(shades=pavement.shades + vehicle_shades(vehicles, weather)),
        markings=sample_markings(chance, road, junction),
        paints=((white * worn, white * worn, (white - 4) * worn), yellow),
        vehicles=vehicles,
        roadside=sample_surroundings(chance, road, weather, side_street(junction)),
        hood=sample_hood(chance),
    )


def sample_markings(chance: Chance, road: Road, junction: Junction | None) -> list[Marking]:
    """All markings of a road, in the order of painting."""
    spans = line_spans(junction)
    end = junction.stop - 1.0 if junction else FARTHEST
    solid_before = end - chance.uniform(8.0, 30.0) if junction and junction.is_crossroad else FARTHEST
    markings = sample_area(chance, road, end)
    markings += sample_median(chance, road, spans)
    markings += sample_lines(chance, road, sample_style(chance), spans, solid_before)
    if junction:
        markings += sample_junction_markings(chance, road, junction)
    return markings


def _horizon(view: View) -> int:
    """First row that shows ground, at the higher end of a tilted horizon."""
    row = min(view.horizon_row(0.0), view.horizon_row(float(view.width)))
    return int(min(max(row, 0), view.height - 2))


def _draw_ground(canvas: Canvas, contents: Contents) -> None:
    """Draws sky, land, road and paint, with light and shadow."""
    view, weather, pavement = canvas.view, contents.weather, contents.pavement
    top = _horizon(view)
    image = canvas.image
    paint_sky(image, view, weather, contents.atmosphere)
    canvas.draw_land(lit(pavement.land, weather))
    canvas.draw_patches([patch._replace(color=lit(patch.color, weather)) for patch in pavement.patches])
    bright = 1.25 if weather.kind == "night" else 1.0
    colors = np.array([lit(paint, weather, bright) for paint in contents.paints], np.float32)
    paints = canvas.draw_markings(contents.markings)
    texture = ground_texture(view, top, pavement)
    painted = np.flatnonzero(canvas.labels[top:])
    ground = image[top:].reshape(-1, 3)
    cover = worn_cover(texture.reshape(-1, 3)[painted, 2], pavement.wear)[:, None]
    fresh = colors[paints[top:].ravel()[painted]]
    ground[painted] = (fresh * cover + ground[painted] * (1 - cover)).astype(np.uint8)
    gain = ground_gain(view, top, texture, pavement, weather)
    image[top:] = cv2.multiply(image[top:], cv2.merge((gain, gain, gain)), scale=1 / GAIN_ONE)
    add_haze(image, view, weather)
