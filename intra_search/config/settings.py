"""All settings of a study, typed and frozen. A path such as `distill.affinity.weight` names one everywhere:
in TOML, in `--set`, in a search space, in a trial's record."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from intra_search.config.base import BrokenRuleError
from intra_search.config.base import Settings as Settings
from intra_search.config.distill import PAPER_PRESET
from intra_search.config.distill import DistillSettings as DistillSettings
from intra_search.errors import SettingError

Fraction = float


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


class ScenesSettings(Settings):
    """Which road scenes, how they are split, and what the networks see of them."""

    dataset: Literal["synthetic", "apolloscape", "culane", "llamas", "folder"] = "synthetic"
    root: str | None = None
    """Folder of the data set; `synthetic` draws its scenes and has none."""
    classes: Literal["fine", "category"] = "fine"
    """`fine`: every class of the data set; `category`: one class per category (void, dividing, stopping ...; LLAMAS:
    its official binary task)."""
    ignored_class: bool = False
    """Train the data set's ignored pixels as one more class (the authors' 37 instead of 36 for ApolloScape)."""
    height: int = Field(default=160, ge=32, multiple_of=8)
    """Rows of the network's input; a multiple of 8, the networks' output stride."""
    width: int = Field(default=416, ge=32, multiple_of=8)
    """Columns of the network's input; a multiple of 8."""
    crop_top: Fraction | Literal["paper"] = 0.0
    """Share of rows cut from the top (sky) before resizing; `paper` takes the crop of the data set's protocol."""
    num_train: int = Field(default=256, ge=1)
    """Drawn training scenes (`synthetic` only)."""
    num_val: int = Field(default=64, ge=1)
    """Drawn validation scenes (`synthetic` only)."""
    num_test: int = Field(default=64, ge=1)
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
    views: Annotated[int, Field(ge=1, le=1000)] | Literal["fresh"] = 1
    """Reproducible views per training scene, which the teacher answers once each; a study file that says nothing gets 4
    where `augment` makes them differ (docs/knowledge.md: what 4 is measured by), else 1. `fresh`: a new one in every
    epoch of every trial, reproducible too, but so many that the teacher must run live."""
    augment: AugmentSettings = AugmentSettings()
    cache: bool = True
    """Keep decoded, resized scenes on each machine's disk, mapped by all its workers (height * width * 4 bytes each);
    `INTRA_SEARCH_CACHE` says where, `INTRA_SEARCH_CACHE_GB` (64) how much at most."""

    @model_validator(mode="after")
    def _check(self) -> Self:
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


class TrainingSettings(Settings):
    """One training, of the teacher or of a student."""

    epochs: int = Field(default=24, ge=1)
    batch_size: int = Field(default=8, ge=1)
    """Views per step over all workers together; the ragged last batch is dropped."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = Field(default=0.01, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of SGD; AdamW takes (0.9, 0.999)."""
    weight_decay: float = Field(default=1e-4, ge=0)
    poly_power: float = Field(default=0.9, ge=0)
    """Learning rate falls as (1 - progress) ** poly_power; 0 keeps it constant."""
    schedule_step: Literal["epoch", "step"] = "step"
    """When progress moves on. The authors' code steps per epoch."""
    background_weight: float = Field(default=0.4, gt=0)
    """Weight of class 0 in the cross-entropy (paper: 0.05 ApolloScape, 0.4 CULane and LLAMAS)."""
    ignored_class_weight: float = Field(default=0.05, gt=0)
    """Weight of the last class when `scenes.ignored_class` is on (the authors' code: 0.05)."""
    existence_weight: float = Field(default=0.1, ge=0)
    """Weight of the existence branch's loss on data sets of lanes (0.1 in all released lane codes); 0: no branch."""
    clip_gradient_norm: float | None = Field(default=None, gt=0)
    """Largest norm of the whole gradient; none: not clipped."""
    amp: Literal["auto", "bf16", "off"] = "auto"
    """Autocast to bfloat16; `auto`: where the device has bfloat16 units, else float32."""
    compile: bool = False
    """`torch.compile` the network; pays off in long trainings only."""


class PSPNetOptions(Settings):
    """Options of `pspnet_resnet*`."""

    bins: tuple[int, ...] = (1, 2, 3, 6)
    """Grid sizes of the pyramid pooling."""
    head_channels: int = Field(default=512, ge=8)
    """Channels of each pyramid branch and of the head's convolution (512 in the authors' code)."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    layout: Literal["paper", "authors"] = "paper"
    """`authors` computes as their code does, for `teacher.checkpoint` with their released weights; it has no bins."""


class TeacherSettings(Settings):
    """The teacher: trained once per study, or given as a checkpoint."""

    network: Literal["pspnet_resnet18", "pspnet_resnet34", "pspnet_resnet50", "pspnet_resnet101"] = "pspnet_resnet101"
    options: PSPNetOptions = PSPNetOptions()
    init: str | None = None
    """Checkpoint to start the teacher's training from (path or URI of a checkpoint folder of this tool)."""
    pretrained: Literal["imagenet"] | None = None
    """Start the backbone from torchvision's ImageNet weights, which it fetches into torch's cache (`TORCH_HOME`)."""
    checkpoint: str | None = None
    """A trained teacher's checkpoint; nothing is trained then. A folder of this tool, or a file (`.pth`, `.pth.tar`,
    `.pt`) with the PSPNet of the authors' code; that one needs `options.layout = "authors"`."""
    allow_weak: bool = False
    """Go on with a teacher that does not beat the plain student on `val`; the comparison is recorded either way."""
    training: TrainingSettings = TrainingSettings()

    @model_validator(mode="after")
    def _check(self) -> Self:
        starts = [name for name in ("init", "pretrained", "checkpoint") if getattr(self, name) is not None]
        if len(starts) > 1:
            raise BrokenRuleError(
                f"teacher.{starts[1]}", "the teacher has one origin", " and ".join(starts), "keep one"
            )
        return self


class StudentSettings(Settings):
    """The student's architecture. Options that its network does not have are refused."""

    network: Literal["erfnet", "enet", "resnet18"] = "erfnet"
    width: float = Field(default=1.0, ge=0.0625, le=4)
    """Multiplies every channel count, rounded to multiples of 4; 1 is the published network."""
    blocks: tuple[int, int] = (5, 8)
    """Residual blocks at 1/4 and 1/8 of the input (published ERFNet: 5 and 8; ENet: 4 and 16); resnet18 has none."""
    init: str | None = None
    """Checkpoint to start every trial from: of the same architecture, its classifier may have other classes."""

    def options(self) -> dict[str, Any]:
        """Keyword arguments of `build_network` for this student."""
        if self.network == "resnet18":
            return {"width": self.width}
        return {"width": self.width, "blocks": self.blocks}


class HalvingSettings(Settings):
    """Asynchronous successive halving (ASHA): a trial goes on past a rung if it is among the best 1/factor there."""

    enabled: bool = True
    min_epochs: int = Field(default=1, ge=1)
    """Epochs of the lowest rung; the next lie at min_epochs * factor, * factor squared, ..."""
    factor: int = Field(default=3, ge=2)


Metric = Literal["val/miou", "val/official_miou", "val/f1", "val/mean_ap"]
OFFICIAL_METRICS: dict[str, str] = {
    "val/official_miou": "apolloscape",
    "val/f1": "culane",
    "val/mean_ap": "llamas",
}
"""Metrics of whole frames by a benchmark's own rules, and the data set whose they are."""


class SearchSettings(Settings):
    """How the space is searched."""

    num_trials: int = Field(default=16, ge=1)
    """Trials in all; a larger number extends a finished study."""
    objectives: tuple[Metric, ...] = ("val/miou",)
    """What is maximised, and what decides which epoch is the best. `val/miou` is taken at the network's input size; a
    benchmark's own metric (val/official_miou ApolloScape, val/f1 CULane, val/mean_ap LLAMAS) on whole frames, which
    costs their decoding at each validation."""
    sampler: Literal["tpe", "random"] = "tpe"
    startup_trials: int = Field(default=8, ge=1)
    """Trials drawn at random before TPE has a model."""
    halving: HalvingSettings = HalvingSettings()
    max_concurrent: int | None = Field(default=None, ge=1)
    """Trials at a time; none: as many as the cluster holds."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.objectives) != 1:
            remedy = "name one"
            raise BrokenRuleError("search.objectives", "must name exactly one metric", list(self.objectives), remedy)
        return self


class ResourcesSettings(Settings):
    """What one trial gets of the cluster."""

    workers: int = Field(default=1, ge=1)
    """Training processes of one trial; above 1 they run in a Ray Train group."""
    cpus_per_worker: float = Field(default=1, gt=0)
    gpus_per_worker: int | Literal["auto"] = "auto"
    """`auto`: one where the cluster has any, else none."""
    trials_per_gpu: int = Field(default=1, ge=1)
    """One-worker trials that share a GPU."""
    max_restarts: int = Field(default=8, ge=0)
    """How often the workers of one trial may die (killed, out of memory, machine lost) before it counts as failed."""
    loader_processes: int = Field(default=0, ge=0)
    """Processes per worker that decode scenes ahead; 0: the training process decodes them itself."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.workers > 1 and self.trials_per_gpu > 1:
            found, remedy = f"{self.trials_per_gpu} with {self.workers} workers", "set one of the two to 1"
            raise BrokenRuleError("resources.trials_per_gpu", "is for trials of one worker", found, remedy)
        return self


class KnowledgeSettings(Settings):
    """How the teacher's answers reach the trials."""

    mode: Literal["stored", "live", "auto"] = "stored"
    """`stored`: answered once per study and read by all trials; `live`: the teacher runs in every step; `auto`: times
    both for a few steps when the study begins and keeps what costs the whole search less."""
    store: str | None = None
    """Folder or URI of the answers; none: inside the study. Studies that name one store share what it holds."""
    max_gb: float = Field(default=100.0, gt=0)
    """Most that the answers may take, in 10^9 bytes; above it the teacher runs live."""
    node_cache_gb: float = Field(default=100.0, gt=0)
    """Most that a machine's copies of answers on object storage may take (beside its scenes), in 10^9 bytes."""


class StudySettings(Settings):
    """One study, whole."""

    name: str = "study"
    seed: int = Field(default=0, ge=0)
    """Seeds views, initial weights, data order and the sampler."""
    scenes: ScenesSettings = ScenesSettings()
    teacher: TeacherSettings = TeacherSettings()
    student: StudentSettings = StudentSettings()
    knowledge: KnowledgeSettings = KnowledgeSettings()
    distill: DistillSettings = DistillSettings()
    training: TrainingSettings = TrainingSettings()
    search: SearchSettings = SearchSettings()
    resources: ResourcesSettings = ResourcesSettings()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.scenes.views == "fresh" and self.knowledge.mode == "stored":
            rule = "fresh views are drawn once, so the teacher's answers cannot be stored"
            raise BrokenRuleError(
                "scenes.views", rule, "knowledge.mode = stored", "add --set knowledge.mode=live, or auto"
            )
        metric = self.search.objectives[0]
        dataset = OFFICIAL_METRICS.get(metric, self.scenes.dataset)
        if dataset != self.scenes.dataset:
            rule = f"{metric} is a metric of {dataset}"
            remedy = "maximise val/miou, or the data set's own metric"
            raise BrokenRuleError("search.objectives", rule, f"{self.scenes.dataset} scenes", remedy)
        if dataset in ("apolloscape", "culane") and metric in OFFICIAL_METRICS and self.scenes.classes != "fine":
            rule, found = f"{metric} needs scenes.classes = fine", self.scenes.classes
            raise BrokenRuleError("search.objectives", rule, found, "maximise val/miou")
        return self


VIEWS_THAT_DIFFER = 4
"""Default of `scenes.views` where views are drawn: under 4 settings rank as under fresh views, under 1 less so."""

PAPER_RECIPE: dict[str, Any] = {
    "distill.enabled": True,
    **{f"distill.{path}": value for path, value in PAPER_PRESET.items()},
}
"""Hou et al. 2020 as recalled, to be checked against the PDF. Trial 0 takes these values on every searched path."""


def parse_settings(tree: Mapping[str, Any], where: str = "settings") -> StudySettings:
    """Validates a nested dict as read from TOML. Raises `SettingError` naming the first wrong path."""
    try:
        # By way of JSON, where strict mode still takes lists for tuples.
        settings = StudySettings.model_validate_json(json_text(_with_implied_mode(tree), where))
    except ValidationError as error:
        raise _setting_error(error, where) from None
    scenes = settings.scenes
    if "views" in scenes.model_fields_set or scenes.augment == AugmentSettings():
        return settings
    return settings.model_copy(update={"scenes": scenes.model_copy(update={"views": VIEWS_THAT_DIFFER})})


def _with_implied_mode(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    """Fresh views imply a live teacher, unless the mode is said; `stored` is refused then."""
    scenes, knowledge = tree.get("scenes"), tree.get("knowledge", {})
    fresh = isinstance(scenes, Mapping) and scenes.get("views") == "fresh"
    return {**tree, "knowledge": {"mode": "live", **knowledge}} if fresh and isinstance(knowledge, Mapping) else tree


def json_text(tree: Mapping[str, Any], where: str) -> str:
    """JSON of a tree read from TOML, whose dates and times no setting takes."""

    def refuse(value: object) -> None:
        raise SettingError(where, "no setting is a date or a time", str(value), "put it in quotes if it is a word")

    return json.dumps(tree, default=refuse)


def with_overrides(settings: StudySettings, overrides: Mapping[str, Any], where: str = "settings") -> StudySettings:
    """New settings with dotted paths replaced; everything is validated again."""
    tree = settings.model_dump(mode="json")
    for path, value in overrides.items():
        set_path(tree, path, value)
    return parse_settings(tree, where)


def set_path(tree: dict[str, Any], path: str, value: Any) -> None:
    """Replaces one known path in a dumped tree of settings; raises `SettingError` for an unknown one."""
    parent, _, key = path.rpartition(".")
    _at_path(tree, path)
    (_at_path(tree, parent) if parent else tree)[key] = value


def get_path(settings: StudySettings, path: str) -> Any:
    """Value of one dotted path, in its JSON form (lists for tuples)."""
    return _at_path(settings.model_dump(mode="json"), path)


def _at_path(tree: dict[str, Any], path: str) -> Any:
    node: Any = tree
    parts = path.split(".")
    for depth, part in enumerate(parts):
        if not isinstance(node, dict) or part not in node:
            parent = ".".join(parts[:depth])
            known = ", ".join(sorted(node)) if isinstance(node, dict) else "no settings below it"
            raise SettingError(path, "unknown setting", repr(part), f"{parent or 'a study'} has: {known}")
        node = node[part]
    return node


def _setting_error(error: ValidationError, where: str) -> SettingError:
    first = error.errors()[0]
    broken = first.get("ctx", {}).get("error")
    if isinstance(broken, BrokenRuleError):
        return SettingError(f"{where}: {broken.path}", broken.rule, broken.found, broken.remedy)
    path = _path_of(first["loc"])
    # A setting of two types, such as a number or "auto", breaks a rule of each.
    rules = [other["msg"].removeprefix("Value error, ") for other in error.errors() if _path_of(other["loc"]) == path]
    num_others = error.error_count() - len(rules)
    more = f" (and {num_others} more)" if num_others else ""
    if first["type"] == "extra_forbidden":
        known = ", ".join(_known_keys(first["loc"][:-1]))
        return SettingError(f"{where}: {path}", "unknown setting", repr(first["loc"][-1]), f"known here: {known}{more}")
    rule = " or ".join(rules)
    found = "this group of settings" if isinstance(first["input"], dict) else repr(first["input"])
    return SettingError(f"{where}: {path}", rule, found, f"correct {path}{more}")


def _path_of(location: tuple[int | str, ...]) -> str:
    """Path of a setting; behind it pydantic names the types it tried, which are no settings."""
    parts: list[str] = []
    model: Any = StudySettings
    for part in location:
        if model is not None or isinstance(part, int):
            parts.append(str(part))
        field = model.model_fields.get(str(part)) if model is not None else None
        is_group = field is not None and isinstance(field.annotation, type) and issubclass(field.annotation, Settings)
        model = field.annotation if field is not None and is_group else None
    return ".".join(parts) or "study"


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    model: Any = StudySettings
    for part in location:
        model = model.model_fields[str(part)].annotation
    return sorted(model.model_fields)
