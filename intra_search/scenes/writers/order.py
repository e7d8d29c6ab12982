"""What a writer shall draw, and which recording and split each scene belongs to; the same for every layout."""

from math import ceil
from typing import NamedTuple

from intra_search.scenes.source import Split

LEAST_SCENES = 3
"""train, val and test need one each."""
_LEAST_RECORDINGS = 5
_LONGEST_RECORDING = 50
_HELD_BACK = 0.2  # share of the recordings in val, and again in test


class DrawOrder(NamedTuple):
    """Scenes 0 … num_scenes - 1. Each depends on (seed, its number, height, width) alone."""

    num_scenes: int
    seed: int
    height: int
    width: int

    @property
    def num_recordings(self) -> int:
        """At least five (or one per scene), so that every split can get some; each has at most 50 scenes."""
        return min(self.num_scenes, max(_LEAST_RECORDINGS, ceil(self.num_scenes / _LONGEST_RECORDING)))

    def recording(self, index: int) -> int:
        """Number of the recording of a scene. Neighbouring scenes are in one recording."""
        return index * self.num_recordings // self.num_scenes

    def split(self, index: int) -> Split:
        """For layouts with a split: the last fifth of the recordings is test, the fifth before it is val."""
        held_back = max(1, round(_HELD_BACK * self.num_recordings))
        from_end = self.num_recordings - self.recording(index)
        return "test" if from_end <= held_back else "val" if from_end <= 2 * held_back else "train"
