"""Settings of the road scenes: which, how they are split, and what the networks see of them."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from intra_search.config.base import BrokenRuleError, Settings
from intra_search.config.traits import Trait

Fraction = float
DRAWN = "synthetic"
_READERS = ("apolloscape", "culane", "llamas", "folder", DRAWN)


class AugmentSettings(Settings):
    """How a view of a training scene is drawn. Evaluation draws nothing."""

    scale: tuple[float, float] = (1.0, 1.0)
    """Range of the zoom before the crop to `scenes.height` x `scenes.width`; 1 fits the whole frame."""
    rotation: float = Field(default=0.0, ge=0, le=45)
    """Largest rotation in degrees, either way; drawn for every second view (authors: ApolloScape 10, CULane 1)."""
    colour: float = Field(default=0.0, ge=0, lt=1)
    """Strength of brightness, contrast and saturation changes; 0.2 means factors in 0.8..1.2."""
    flip: bool = False
    """Mirror every second view. Needs the data set's table of left/right classes; off as the authors have it."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        low, high = self.scale
        if not 0.25 <= low <= high <= 4:
            rule, remedy = "must hold 0.25 <= low <= high <= 4", "correct the range"
            raise BrokenRuleError("scenes.augment.scale", rule, [low, high], remedy)
        return self


def unlabelled_entry(text: str) -> tuple[str | None, str]:
    """Reader and folder (drawn scenes: their number) of an entry of `scenes.unlabelled`; no reader: a plain folder."""
    reader, colon, rest = text.partition(":")
    return (reader, rest) if colon and reader in _READERS else (None, text)


class ScenesSettings(Settings):
    """Which road scenes, how they are split, and what the networks see of them."""

    dataset: Literal["synthetic", "apolloscape", "culane", "llamas", "folder"] = "synthetic"
    root: Annotated[str | None, Trait.A_PATH, Trait.LOCAL] = None
    """Folder of the data set; `synthetic` draws its scenes and has none."""
    classes: Annotated[Literal["fine", "category"], Trait.OF_A_VIEW] = "fine"
    """`fine`: every class of the data set; `category`: one class per category (void, dividing, stopping ...; LLAMAS:
    its official binary task)."""
    ignored_class: Annotated[bool, Trait.OF_A_VIEW] = False
    """Train the data set's ignored pixels as one more class (the authors' 37 instead of 36 for ApolloScape)."""
    height: Annotated[int, Trait.OF_A_VIEW] = Field(default=160, ge=32, le=16_384, multiple_of=8)
    """Rows of the network's input; a multiple of 8, the networks' output stride."""
    width: Annotated[int, Trait.OF_A_VIEW] = Field(default=416, ge=32, le=16_384, multiple_of=8)
    """Columns of the network's input; a multiple of 8."""
    crop_top: Annotated[Fraction | Literal["paper"], Trait.OF_A_VIEW] = 0.0
    """Share of rows cut from the top (sky) before resizing; `paper` takes the crop of the data set's protocol."""
    num_train: int = Field(default=256, ge=1, le=10_000_000)
    """Drawn training scenes (`synthetic` only)."""
    num_val: int = Field(default=64, ge=1, le=10_000_000)
    """Drawn validation scenes (`synthetic` only)."""
    num_test: int = Field(default=64, ge=1, le=10_000_000)
    """Drawn test scenes (`synthetic` only)."""
    val_groups: tuple[str, ...] = ()
    """Groups (videos, records) that form `val`; empty: drawn by `val_fraction`. Frames of one group never part."""
    test_groups: tuple[str, ...] = ()
    """Groups that form `test`; empty: drawn by `test_fraction`."""
    val_fraction: Fraction = Field(default=0.15, gt=0, lt=1)
    """Share of scenes in `val` when `val_groups` is empty."""
    test_fraction: Fraction = Field(default=0.15, gt=0, lt=1)
    """Share of scenes in `test` when `test_groups` is empty."""
    seed: int = Field(default=0, ge=0)
    """Seeds the drawn scenes and the split into groups."""
    views: Annotated[Annotated[int, Field(ge=1, le=1000)] | Literal["fresh"], Trait.OF_A_VIEW] = 1
    """Reproducible views per training scene, which the teacher answers once each; a study file that says nothing gets 4
    where `augment` makes them differ (docs/knowledge.md: what 4 is measured by), else 1. `fresh`: a new one in every
    epoch of every trial, reproducible too, but so many that the teacher must run live."""
    augment: Annotated[AugmentSettings, Trait.OF_A_VIEW] = AugmentSettings()
    cache: Annotated[bool, Trait.LOCAL] = True
    """Keep decoded, resized scenes on each machine's disk, mapped by all its workers (height * width * 4 bytes each);
    `INTRA_SEARCH_CACHE` says where, `INTRA_SEARCH_CACHE_GB` (64) how much at most."""

    unlabelled: Annotated[tuple[str, ...], Trait.A_PATH, Trait.LOCAL, Trait.ADDED_LATER] = ()
    """Frames without labels, on which the terms compare the student with the teacher (docs/knowledge.md). Each entry is
    a folder of images, searched with all folders below it; `dataset:folder`, the train frames of a data set, whose
    labels are not read (`culane:/data/culane`); or `synthetic:1000`, so many other drawn scenes."""
    unlabelled_share: Annotated[Fraction, Trait.ADDED_LATER] = Field(default=0.5, gt=0, lt=1)
    """Share of each batch that comes from `unlabelled`, rounded to whole frames. An epoch is each labelled scene once,
    so a share of a half doubles an epoch's steps."""
    pseudo_labels: Annotated[Fraction | None, Trait.ADDED_LATER] = Field(default=None, gt=0, le=1)
    """Also train the cross-entropy on frames without labels, on the teacher's classes where its largest probability is
    at least this; none: only the terms count there. The rival of terms on such frames."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._check_unlabelled()
        if self.crop_top != "paper" and not 0 <= self.crop_top < 1:
            remedy = "give a share of the rows"
            raise BrokenRuleError("scenes.crop_top", "must be 'paper' or in [0, 1)", self.crop_top, remedy)
        if self.dataset == "synthetic" and self.root is not None:
            remedy = "remove it or choose another scenes.dataset"
            raise BrokenRuleError("scenes.root", "has no meaning for drawn scenes", repr(self.root), remedy)
        if self.dataset != "synthetic" and self.root is None:
            rule = f"must name the folder of the {self.dataset} data set"
            raise BrokenRuleError("scenes.root", rule, "none", "add --set scenes.root=DIR")
        return self

    def _check_unlabelled(self) -> None:
        seen: set[str] = set()
        for entry in self.unlabelled:
            reader, rest = unlabelled_entry(entry)
            if not rest or (reader == DRAWN and not (rest.isdecimal() and int(rest) > 0)):
                rule, remedy = "must name folders, dataset:folder or synthetic:NUMBER", "correct the entry"
                raise BrokenRuleError("scenes.unlabelled", rule, repr(entry), remedy)
            if entry in seen:
                rule, remedy = "must name each source of frames once", "remove one"
                raise BrokenRuleError("scenes.unlabelled", rule, repr(entry), remedy)
            seen.add(entry)
        if self.pseudo_labels is not None and not self.unlabelled:
            rule, remedy = "labels the frames of scenes.unlabelled", "name folders there, or remove it"
            raise BrokenRuleError("scenes.pseudo_labels", rule, f"{self.pseudo_labels:g} and no such frames", remedy)
