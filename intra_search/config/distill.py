"""Settings of distillation: which terms, what they compare, and how much they weigh.

Every term has a group of settings, named as in the table `TERMS` of `intra_search.distill.terms.table`. The two terms
of IntRA-KD are on by default; the methods that it is compared with are off (weight 0). `PUBLISHED_WEIGHTS` says what
others used.
"""

from typing import Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from intra_search.config.base import Settings, Temperature, Weight
from intra_search.config.recipes import PRESETS


class TermSettings(Settings):
    """What every term has: a weight, and how it moves over the training."""

    weight: Weight = 0.0
    """Factor on the term; 0: not built. With `distill.balance = "gradient"` a multiple of equal gradient norm."""
    start: float = Field(default=0.0, ge=0, lt=1)
    """Share of the training after which the term begins; before that it costs nothing."""
    ramp: float = Field(default=0.0, ge=0, le=1)
    """Share of the training, from `start` on, over which the weight rises from 0 in a straight line."""
    decay: float = Field(default=0.0, ge=0, le=1)
    """Share of the training, up to its end, over which the weight falls to 0 along half a cosine."""

    @model_validator(mode="after")
    def _check_schedule(self) -> Self:
        if self.start + self.ramp > 1:
            found = f"{self.start:g} + {self.ramp:g}"
            raise ValueError(f"start + ramp must be at most 1, else the weight is never reached, got {found}")
        return self


class AffinitySettings(TermSettings):
    """Inter-region affinity of moments: IntRA-KD's L_m."""

    weight: Weight = 0.1
    """The paper's, from memory: to be checked against its PDF, as all values below that are called the paper's."""
    orders: tuple[int, ...] = (1, 2)
    """Moment orders compared, any subset of 1..6. The paper takes 3 too, which is mostly noise in small regions."""
    order_weights: tuple[Weight, ...] = ()
    """One factor per order; empty: 1 each."""
    least_cells: tuple[int, ...] = Field(default=(1, 16, 64), min_length=1)
    """Cells that a region needs, in the student's and the teacher's map, for its moment of order 1, 2, ... to count;
    the last entry is for all higher orders. With fewer, a variance or a skewness is mostly sampling noise."""
    pairs: Literal["equal", "size"] = "equal"
    """`size`: a pair of regions of n and m cells counts as sqrt(n m)."""
    centred: bool = False
    """Compare moments less their mean over the image's regions: without it, most cosines lie near 1."""
    kernel_size: int = Field(default=5, ge=1, le=99)
    """Side of the box that grows labels into regions, in pixels of the input (paper 5, author's sketch 11)."""
    masks: Literal["hard", "soft"] = "hard"
    """`hard`: a cell is in a region or not (paper); `soft`: weighted by the share of the box (author's sketch)."""
    background: bool = True
    """Whether class 0 is a region. The paper's text counts background regions."""
    resize: Literal["max", "bilinear", "nearest"] = "max"
    """How regions come to the feature's size. `max` keeps thin markings; the author's sketch takes `bilinear`."""
    variant: Literal["textbook", "variance", "literal", "sketch"] = "textbook"
    """Formula of the moments. `textbook`: standardised; `variance`: divided by the variance, inside the region;
    `literal`: as printed, with cells outside the region; `sketch`: divided by all cells."""
    absent: Literal["excluded", "counted"] = "excluded"
    """Whether regions that an image does not have count in the average, as the paper's 3 n^2 does."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.orders or len(set(self.orders)) != len(self.orders) or not set(self.orders) <= set(range(1, 7)):
            raise ValueError(f"orders must be a non-empty subset of 1..6, got {list(self.orders)}")
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {self.kernel_size}")
        if self.order_weights and len(self.order_weights) != len(self.orders):
            found = f"{len(self.order_weights)} for {len(self.orders)} orders"
            raise ValueError(f"order_weights must be empty or hold one factor per order, got {found}")
        if self.order_weights and not any(self.order_weights):
            raise ValueError(f"order_weights must not be all 0, got {list(self.order_weights)}")
        if min(self.least_cells) < 1:
            raise ValueError(f"least_cells must be >= 1, got {list(self.least_cells)}")
        return self


class MapSettings(TermSettings):
    """What terms on attention maps share."""

    map: Literal["standardised", "l2", "sum"] = "standardised"
    """How a feature becomes a map. `standardised`: softmax over positions of the mean of squares, standardised over
    positions; `l2`: the mean of squares divided by its L2 norm, as AT; `sum`: softmax of the sum of squares, as
    recalled from the paper, which puts all on one cell."""
    temperature: Temperature = 4.0
    """Softens the maps that end in a softmax. At 1, a standardised map still puts most on a few cells, and its gradient
    changes a hundredfold from batch to batch (measured); 4 as in CWD."""


class AttentionSettings(MapSettings):
    """Attention maps: IntRA-KD's L_a."""

    weight: Weight = 0.1
    """The paper's, from memory: to be checked against its PDF."""


class LogitSettings(TermSettings):
    """What terms on logits share."""

    temperature: Temperature = 1.0
    """Softens both networks' logits."""
    stride: Literal[1, 2, 4, 8] = 1
    """Both networks' logits are averaged over stride x stride pixels first; 1 compares every pixel, 8 stores 1/64."""


class KDSettings(LogitSettings):
    """Per-pixel distillation of class probabilities (Hinton et al. 2015)."""

    pixels: Literal["all", "balanced"] = "all"
    """`balanced`: half the weight for pixels that the teacher calls background, half for all others: markings are a
    twentieth of the pixels, so an even mean teaches background."""
    standardise: bool = False
    """Compare logits less their mean, divided by their standard deviation over classes (Sun et al. 2024)."""


class CWDSettings(LogitSettings):
    """Channel-wise distillation (Shu et al. 2021)."""

    temperature: Temperature = 4.0
    """Softens the distribution of each channel over positions (paper: 4, from memory: unverified)."""
    on: Literal["features", "logits"] = "logits"
    """What is compared: `distill.layers`, with a 1x1 adapter where channels differ, or the logits."""


class ATSettings(TermSettings):
    """Attention transfer (Zagoruyko & Komodakis 2017), L2-normalised maps on `distill.layers`."""


class SKDSettings(LogitSettings):
    """Structured distillation (Liu et al. 2019) without its adversarial part: pixel-wise and pair-wise."""

    pixel_weight: Weight = 10.0
    """Of the pixel-wise cross-entropy of probabilities, inside the term."""
    pair_weight: Weight = 1.0
    """Of the pair-wise similarity on `distill.layers`, inside the term."""
    nodes: int = Field(default=2, ge=1, le=32)
    """Features are max-pooled to nodes x nodes before similarities are taken (released code: 2)."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.pixel_weight == self.pair_weight == 0:
            raise ValueError("pixel_weight or pair_weight must be > 0; weight = 0 switches the whole term off")
        return self


class FitNetSettings(TermSettings):
    """Hints (Romero et al. 2015): squared error of features on `distill.layers` through 1x1 adapters."""


class IFVDSettings(TermSettings):
    """Intra-class feature variation (Wang et al. 2020): cosine of each cell with its class's mean feature."""


class CIRKDSettings(TermSettings):
    """Cross-image relations (Yang et al. 2022), the mini-batch pixel-to-pixel part."""

    temperature: Temperature = 0.1
    """Of the softmax over similarities."""
    grid: int = Field(default=8, ge=1, le=64)
    """Features are averaged to grid x grid cells per image first: the similarities are (grid^2)^2 per image pair."""


class DISTSettings(LogitSettings):
    """Pearson correlation of probabilities (Huang et al. 2022)."""

    inter_weight: Weight = 1.0
    """Of the correlation over classes at each pixel (beta)."""
    intra_weight: Weight = 1.0
    """Of the correlation over pixels of each class (gamma)."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.inter_weight == self.intra_weight == 0:
            raise ValueError("inter_weight or intra_weight must be > 0; weight = 0 switches the whole term off")
        return self


class FSPSettings(TermSettings):
    """Flow between neighbouring layers (Yim et al. 2017), the paper's PS-N; consecutive entries of `distill.layers`.
    Unverified, and without a known weight."""


class IRGSettings(TermSettings):
    """Instance relations (Liu et al. 2019): distances between the images of a batch, on `distill.layers`. Unverified as
    the road-marking paper's baseline."""

    transformation_weight: Weight = 0.0
    """Inside the term, of how distances change between consecutive entries of `distill.layers`. Unverified, so off."""


class NeighbourSettings(MapSettings):
    """Attention maps of neighbouring layers as targets, the paper's BiFPN; consecutive entries of `distill.layers`.
    Unverified, and without a known weight."""


class SADSettings(MapSettings):
    """Self attention distillation (Hou et al. 2019): each block learns the attention of the next. No teacher."""

    blocks: tuple[str, ...] = Field(default=("block1", "block2", "block3"), min_length=2)
    """Student features from shallow to deep."""


class DKSSettings(TermSettings):
    """Deeply-supervised knowledge synergy (Sun et al. 2019): side classifiers that teach each other. No teacher.
    Unverified, and without a known weight."""

    blocks: tuple[str, ...] = Field(default=("block2",), min_length=1)
    """Student features that get a side classifier."""


class DistillSettings(Settings):
    """What the student learns from the teacher beside the labels. `config.recipes` has whole recipes."""

    enabled: bool = True
    """False: plain training, whatever the weights below say."""
    preset: Literal["none", "paper", "canonical", "intra"] = "none"
    """A recipe of `PRESETS`: every setting that it names takes the value there; a contrary one is refused."""
    layers: tuple[tuple[str, str], ...] = (("decoder", "block5"),)
    """Pairs (student feature, teacher feature) compared by the terms on features, from shallow to deep."""
    layer_weights: tuple[Weight, ...] = ()
    """One factor per pair of `layers`; empty: 1 each. A pair of weight 0 is not computed."""
    balance: Literal["gradient", "none"] = "gradient"
    """`gradient`: weight 1 gives a term the same gradient norm as the task loss, at the term's feature; `none`: weights
    are plain factors."""
    balance_every: int = Field(default=50, ge=1, le=1_000_000)
    """Training steps between two measurements of the gradients; the first ones follow each other more closely."""
    affinity: AffinitySettings = AffinitySettings()
    attention: AttentionSettings = AttentionSettings()
    kd: KDSettings = KDSettings()
    cwd: CWDSettings = CWDSettings()
    at: ATSettings = ATSettings()
    skd: SKDSettings = SKDSettings()
    fitnet: FitNetSettings = FitNetSettings()
    ifvd: IFVDSettings = IFVDSettings()
    cirkd: CIRKDSettings = CIRKDSettings()
    dist: DISTSettings = DISTSettings()
    fsp: FSPSettings = FSPSettings()
    irg: IRGSettings = IRGSettings()
    neighbour: NeighbourSettings = NeighbourSettings()
    sad: SADSettings = SADSettings()
    dks: DKSSettings = DKSSettings()

    @property
    def weighted_layers(self) -> tuple[tuple[str, str, float], ...]:
        """(student feature, teacher feature, weight) of the pairs that count."""
        weights = self.layer_weights or (1.0,) * len(self.layers)
        return tuple((*pair, weight) for pair, weight in zip(self.layers, weights, strict=True) if weight > 0)

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        preset = data.get("preset")
        if isinstance(preset, str) and preset in PRESETS:
            data = _with_preset(data, PRESETS[preset])
        return _frozen(data)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.layer_weights and len(self.layer_weights) != len(self.layers):
            raise ValueError(f"layer_weights must be empty or hold one weight per pair, got {len(self.layer_weights)}")
        return self


class PublishedWeight(NamedTuple):
    """A weight that others used, and where it was seen."""

    weight: float
    source: str


PUBLISHED_WEIGHTS: dict[str, PublishedWeight] = {
    "affinity": PublishedWeight(0.1, "Hou et al. 2020, from memory: unverified"),
    "attention": PublishedWeight(0.1, "Hou et al. 2020, from memory: unverified"),
    "kd": PublishedWeight(1.0, "winycg/CIRKD, T = 1; RepDistiller takes T = 4"),
    "cwd": PublishedWeight(3.0, "winycg/CIRKD, on logits; 50 on features; T = 4 unverified"),
    "at": PublishedWeight(10000.0, "winycg/CIRKD; szagoruyko's README runs take 1000"),
    "skd": PublishedWeight(1.0, "irfanICMLL/structure_knowledge_distillation: 10 pixel-wise, 1 pair-wise inside"),
    "fitnet": PublishedWeight(10.0, "winycg/CIRKD"),
    "ifvd": PublishedWeight(200.0, "YukangWang/IFVD; 20 in winycg/CIRKD's scripts"),
    "cirkd": PublishedWeight(1.0, "winycg/CIRKD"),
    "dist": PublishedWeight(1.0, "hunto/DIST_KD: beta = gamma = 1 inside"),
    "irg": PublishedWeight(0.005, "yufanLIU/IRG, on batch distance maps"),
    "sad": PublishedWeight(0.1, "InhwanBae/ENet-SAD_Pytorch, switched on after two thirds of the training"),
}
"""Verified in the named repository unless it says unverified. FSP, neighbouring attention and DKS have none."""


def _with_preset(data: dict[str, Any], preset: dict[str, Any]) -> dict[str, Any]:
    """Fills in the preset. A dumped tree names every setting, so defaults are replaced; other values are refused."""
    filled = {key: dict(value) if isinstance(value, dict) else value for key, value in data.items()}
    for path, wanted in preset.items():
        group, _, key = path.rpartition(".")
        given = filled.setdefault(group, {}) if group else filled
        fields: Any = DistillSettings.model_fields
        if isinstance(given, Settings):
            given = filled[group] = given.model_dump(mode="json")
        if group:
            fields = fields[group].annotation.model_fields
        default = fields[key].get_default()
        if key in given and _frozen(given[key]) not in (default, _frozen(wanted)):
            name = data["preset"]
            raise ValueError(f'preset "{name}" sets {path} = {wanted}, got {given[key]}; remove one of the two')
        given[key] = wanted
    return filled


def _frozen(value: Any) -> Any:
    """Tuples for lists: what a validator returns is checked as Python and no longer as JSON."""
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else value
