"""What a data set must offer to be trained on. A new data set is one file with such a class and one line in
`intra_search.scenes.sources`."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from intra_search.errors import SettingError
from intra_search.scenes.labels import SceneClass

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

Frame = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Image (H, W, 3) RGB and labels (H, W), both uint8; a label is a class index or 255, ignored."""


def no_protocol(kind: str) -> SettingError:
    """The refusal of `crop_top = "paper"` by a data set without a published crop."""
    rule, remedy = "'paper' needs a data set with a protocol", "set a share of rows, e.g. --set scenes.crop_top=0.3"
    return SettingError("scenes.crop_top", rule, f"{kind}, which has none", remedy)


class SceneName(NamedTuple):
    """What is known of a scene without decoding it."""

    name: str
    """Unique in the data set."""
    group: str
    """Video or record: scenes of one group look alike, so they stay in one split."""


class SceneSource(Protocol):
    """A data set: its classes and its scenes, in an order that depends on nothing but their names."""

    @property
    def classes(self) -> tuple[SceneClass, ...]:
        """Classes by index; class 0 is the background."""

    @property
    def swap(self) -> Mapping[int, int] | None:
        """Class after a flip, for the classes that change (255: none fits); none: the data set must not be flipped."""

    @property
    def lanes(self) -> tuple[int, ...]:
        """Classes of lanes whose existence a network may predict beside the labels; empty: the data set has none."""

    @property
    def scenes(self) -> Sequence[SceneName]:
        """All scenes of all splits."""

    @property
    def splits(self) -> Mapping[Split, Sequence[int]] | None:
        """The data set's own split as indices into `scenes`; none: split by group, as the settings say."""

    def load(self, index: int) -> Frame:
        """Decodes one scene. Raises `SceneError` when image or mask is damaged or breaks a rule."""

    def existence(self, index: int) -> tuple[bool, ...] | None:
        """Which of `lanes` a scene has, as the data set says; None: it has those that its labels show."""

    def paper_crop_top(self, height: int, width: int) -> int:
        """Rows that the data set's protocol cuts from the top of a frame of this size.

        Raises `SettingError` when there is no such protocol."""

    def signature(self) -> str:
        """Text that changes when the content of a scene is replaced; cheap, nothing is decoded."""
