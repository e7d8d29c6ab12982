"""Light and weather of a scene: numbers that say how sun, sky and lamps change colours."""

from typing import Literal, NamedTuple

from intra_search.scenes.synthetic.chance import Chance

Color = tuple[float, float, float]
"""RGB, 0..255."""
Kind = Literal["sun", "cloud", "dusk", "rain", "night"]

_KINDS: tuple[Kind, ...] = ("sun",) * 8 + ("cloud",) * 4 + ("dusk",) * 3 + ("rain",) * 3 + ("night",) * 3


class Weather(NamedTuple):
    kind: Kind
    sky_top: Color
    sky_low: Color
    """Sky at the horizon; also the colour of haze."""
    ambient: Color
    """Factors per channel on the colours of things under this sky."""
    shadow: float
    """Share of the light that a shadow takes away."""
    headlights: float
    """Strength of the own headlights."""
    wet: float
    """0: dry, 1: the ground reflects the sky."""
    haze: float
    """Share of haze just below the horizon."""
    noise: float
    """Standard deviation of the camera's noise, in grey levels."""
    exposure: float


def sample_weather(chance: Chance) -> Weather:
    kind = chance.choice(_KINDS)
    top: Color
    low: Color
    exposure = chance.uniform(0.85, 1.15)
    if kind == "sun":
        top, low, ambient = (70, 125, 200), (190, 212, 235), (1.08, 1.03, 0.95)
        return Weather(kind, top, low, ambient, chance.uniform(0.4, 0.62), 0, 0, 0.12, chance.uniform(1, 3), exposure)
    if kind == "cloud":
        grey = chance.uniform(-25, 15)
        top, low = (175 + grey, 183 + grey, 192 + grey), (208 + grey, 212 + grey, 216 + grey)
        return Weather(kind, top, low, (0.9, 0.92, 0.95), 0.12, 0, 0, 0.25, chance.uniform(1, 4), exposure)
    if kind == "dusk":
        top, low = (62, 66, 110), (chance.uniform(210, 250), 138, 84)
        return Weather(kind, top, low, (0.68, 0.5, 0.45), 0.2, 0.25, 0, 0.2, chance.uniform(2, 5), exposure)
    if kind == "rain":
        top, low = (112, 119, 128), (150, 156, 162)
        wet = chance.uniform(0.5, 1.0)
        return Weather(kind, top, low, (0.58, 0.62, 0.68), 0.05, 0.12, wet, 0.5, chance.uniform(2, 5), exposure)
    wet = chance.uniform(0.5, 0.9) if chance.happens(0.3) else 0.0
    return Weather(kind, (6, 8, 16), (24, 22, 30), (0.3, 0.28, 0.3), 0.1, 1.0, wet, 0.0, chance.uniform(3, 7), exposure)


def lit(color: Color, weather: Weather, factor: float = 1.0) -> Color:
    """How a colour looks under the sky of a scene."""
    red, green, blue = (min(255.0, value * light * factor) for value, light in zip(color, weather.ambient, strict=True))
    return red, green, blue
