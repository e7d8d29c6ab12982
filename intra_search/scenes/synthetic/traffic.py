"""Other vehicles: boxes with cabins, windows, wheels and lamps."""

from typing import NamedTuple

from intra_search.scenes.synthetic.chance import Chance
from intra_search.scenes.synthetic.face import Corner, Face, Thing, across, along, level, shaded
from intra_search.scenes.synthetic.marking import strip
from intra_search.scenes.synthetic.pavement import Shade
from intra_search.scenes.synthetic.road import Road
from intra_search.scenes.synthetic.weather import Color, Weather

_COLORS: tuple[Color, ...] = (
    (225, 225, 225), (205, 205, 208), (150, 153, 158), (45, 46, 50), (28, 28, 32), (120, 22, 24), (32, 54, 110),
    (168, 160, 142), (240, 240, 240), (70, 90, 84), (205, 165, 40), (25, 25, 28),
)  # fmt: skip
_GLASS: Color = (38, 46, 54)
_RUBBER: Color = (18, 18, 19)


class Vehicle(NamedTuple):
    """Metres; `s` is the end nearest to the camera, `t` the middle."""

    s: float
    t: float
    length: float
    width: float
    height: float
    waist: float
    """Height of the lower body; equal to `height` for a bus or lorry."""
    color: Color
    oncoming: bool
    lamps_on: bool


def sample_traffic(chance: Chance, road: Road, weather: Weather) -> list[Vehicle]:
    """Vehicles in the lanes, and sometimes parked ones on the right margin."""
    vehicles: list[Vehicle] = []
    dark = weather.kind in ("night", "dusk", "rain")
    density = chance.uniform(0.0, 1.0) ** 2
    for lane in range(-road.num_left, road.num_right):
        own = lane == road.own_lane
        s = chance.uniform(11.0, 40.0) if own else chance.uniform(2.5, 45.0)
        while s < 85.0 and chance.happens(0.15 + 0.75 * density):
            t = road.lane_center(lane) + chance.normal(0.0, 0.2)
            vehicle = _sample_vehicle(chance, s, t, oncoming=lane < 0, lamps_on=dark or chance.happens(0.1))
            vehicles.append(vehicle)
            s += vehicle.length + chance.uniform(3.0, 40.0)
    if road.margin > 1.5 and chance.happens(0.35):
        s = chance.uniform(3.0, 25.0)
        for _ in range(chance.integer(1, 4)):
            parked = _sample_vehicle(chance, s, road.right + road.margin - 0.7, oncoming=False, lamps_on=False)
            vehicles.append(parked)
            s += parked.length + chance.uniform(0.8, 8.0)
    return vehicles


def _sample_vehicle(chance: Chance, s: float, t: float, *, oncoming: bool, lamps_on: bool) -> Vehicle:
    color = chance.choice(_COLORS)
    kind = chance.share()
    if kind < 0.76:
        height = chance.uniform(1.42, 1.75)
        return Vehicle(
            s, t, chance.uniform(4.1, 4.9), chance.uniform(1.75, 1.9), height, 0.62 * height, color, oncoming, lamps_on
        )
    if kind < 0.9:
        height = chance.uniform(1.9, 2.3)
        return Vehicle(s, t, chance.uniform(4.9, 5.6), 1.95, height, 0.58 * height, color, oncoming, lamps_on)
    height = chance.uniform(2.9, 3.6)
    return Vehicle(s, t, chance.uniform(8.0, 12.0), 2.4, height, height, color, oncoming, lamps_on)


def vehicle_thing(vehicle: Vehicle, camera_t: float, weather: Weather) -> Thing:
    """Faces of a vehicle as seen from the camera's side."""
    faces = _body(vehicle, camera_t, weather)
    if vehicle.waist < vehicle.height:
        faces += _cabin(vehicle, camera_t, weather)
    else:
        faces += _box_windows(vehicle, weather)
    return Thing(vehicle.s, faces + _end_details(vehicle, weather))


def vehicle_shades(vehicles: list[Vehicle], weather: Weather) -> list[Shade]:
    """The dark ground under and beside vehicles."""
    light = 0.35 if weather.kind == "sun" else 0.55
    return [
        Shade(strip(v.s - 0.35, v.s + v.length, v.t - v.width / 2 - 0.2, v.t + v.width / 2 + 0.2)[0], light)
        for v in vehicles
        if v.s + v.length > 3.0
    ]


def _side(vehicle: Vehicle, camera_t: float) -> float:
    """The side that is seen: -1 left, 1 right."""
    return -1.0 if vehicle.t > camera_t else 1.0


def _body(vehicle: Vehicle, camera_t: float, weather: Weather) -> list[Face]:
    s, t, length, half = vehicle.s, vehicle.t, vehicle.length, vehicle.width / 2
    flank = t + _side(vehicle, camera_t) * half
    color, waist = vehicle.color, vehicle.waist
    rubber = shaded(_RUBBER, weather, s)
    faces = [
        Face(along(flank, s + 0.1, s + length - 0.1, 0.0, 0.3), rubber),
        Face(across(s, t - half + 0.03, t + half - 0.03, 0.0, 0.3), rubber),
        Face(along(flank, s, s + length, 0.28, waist), shaded(color, weather, s, 0.72)),
        Face(level(waist, s, s + length, t - half, t + half), shaded(color, weather, s, 1.15)),
        Face(across(s, t - half, t + half, 0.28, waist), shaded(color, weather, s, 0.88)),
    ]
    for axle in (0.18, 0.8):
        middle = s + axle * length
        wheel: list[Corner] = [
            (middle - 0.32, flank, 0.1), (middle - 0.2, flank, 0.0), (middle + 0.2, flank, 0.0),
            (middle + 0.32, flank, 0.1), (middle + 0.32, flank, 0.45), (middle + 0.18, flank, 0.62),
            (middle - 0.18, flank, 0.62), (middle - 0.32, flank, 0.45),
        ]  # fmt: skip
        faces.append(Face(wheel, rubber))
    return faces


def _cabin(vehicle: Vehicle, camera_t: float, weather: Weather) -> list[Face]:
    s, t, length, half = vehicle.s, vehicle.t, vehicle.length, vehicle.width / 2
    low, high = vehicle.waist, vehicle.height
    near, far = (0.28, 0.95) if vehicle.oncoming else (0.04, 0.72)
    foot, head = s + near * length, s + (near + 0.13) * length
    back_foot, back_head = s + far * length, s + (far - 0.13) * length
    side = _side(vehicle, camera_t)
    lean = 0.82 * half
    flank: list[Corner] = [
        (foot, t + side * half, low), (back_foot, t + side * half, low), (back_head, t + side * lean, high),
        (head, t + side * lean, high),
    ]  # fmt: skip
    end: list[Corner] = [
        (foot, t - half, low), (foot, t + half, low), (head, t + lean, high), (head, t - lean, high),
    ]  # fmt: skip
    glass = shaded(_GLASS, weather, s, 1.3)
    return [
        Face(flank, shaded(vehicle.color, weather, s, 0.66)),
        Face(_inset(flank, 0.14), shaded(_GLASS, weather, s)),
        Face(level(high, head, back_head, t - lean, t + lean), shaded(vehicle.color, weather, s, 1.15)),
        Face(end, shaded(vehicle.color, weather, s, 0.92)),
        Face(_inset(end, 0.13), glass),
    ]


def _inset(corners: list[Corner], share: float) -> list[Corner]:
    """The same polygon, shrunk towards its middle."""
    middle = [sum(axis) / len(corners) for axis in zip(*corners, strict=True)]
    keep = 1 - share
    return [
        (middle[0] + keep * (s - middle[0]), middle[1] + keep * (t - middle[1]), middle[2] + keep * (z - middle[2]))
        for s, t, z in corners
    ]


def _box_windows(vehicle: Vehicle, weather: Weather) -> list[Face]:
    half, high = vehicle.width / 2, vehicle.height
    glass = shaded(_GLASS, weather, vehicle.s, 1.2)
    low = 0.45 if vehicle.oncoming else 0.62
    return [Face(across(vehicle.s, vehicle.t - half + 0.2, vehicle.t + half - 0.2, low * high, 0.9 * high), glass)]


def _end_details(vehicle: Vehicle, weather: Weather) -> list[Face]:
    """Lamps, plate and bumper on the end that faces the camera."""
    s, t, half, waist = vehicle.s, vehicle.t, vehicle.width / 2, min(vehicle.waist, 1.2)
    lamp: Color
    if vehicle.oncoming:
        lamp = (255, 250, 225) if vehicle.lamps_on else shaded((205, 210, 215), weather, s)
        middle = Face(across(s, t - 0.5 * half, t + 0.5 * half, 0.45, 0.7 * waist), shaded((35, 35, 38), weather, s))
    else:
        lamp = (255, 45, 35) if vehicle.lamps_on else shaded((165, 22, 24), weather, s)
        middle = Face(across(s, t - 0.26, t + 0.26, 0.55 * waist, 0.7 * waist), shaded((60, 85, 160), weather, s))
    low, high = 0.68 * waist, 0.9 * waist
    bumper = Face(across(s, t - half, t + half, 0.28, 0.38), shaded((45, 45, 48), weather, s))
    lamps = [Face(across(s, t + side - 0.17, t + side + 0.17, low, high), lamp) for side in (0.2 - half, half - 0.2)]
    return [bumper, middle, *lamps]
