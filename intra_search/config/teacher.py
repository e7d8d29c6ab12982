"""Settings of the teacher."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from intra_search.config.base import BrokenRuleError, Settings
from intra_search.config.training import TrainingSettings
from intra_search.config.traits import Trait


class PSPNetOptions(Settings):
    """Options of `pspnet_resnet*`."""

    bins: tuple[int, ...] = (1, 2, 3, 6)
    """Grid sizes of the pyramid pooling."""
    head_channels: int = Field(default=512, ge=8, le=16_384)
    """Channels of each pyramid branch and of the head's convolution (512 in the authors' code)."""
    dropout: float = Field(default=0.1, ge=0, le=0.95)
    width: Annotated[float, Field(ge=0.0625, le=4), Trait.ADDED_LATER] = 1.0
    """Multiplies every channel count of the backbone, rounded to multiples of 4; 1 is the published network."""
    layout: Literal["paper", "authors"] = "paper"
    """`authors` computes as their code does, for `teacher.checkpoint` with their released weights; it has no bins."""


class TeacherSettings(Settings):
    """The teacher: trained once per study, or given as a checkpoint."""

    network: Literal["pspnet_resnet18", "pspnet_resnet34", "pspnet_resnet50", "pspnet_resnet101"] = "pspnet_resnet101"
    options: PSPNetOptions = PSPNetOptions()
    init: Annotated[str | None, Trait.A_PATH] = None
    """Checkpoint to start the teacher's training from (path or URI of a checkpoint folder of this tool, or
    `shipped:drawn_roads`, which comes with the package)."""
    pretrained: Literal["imagenet"] | None = None
    """Start the backbone from torchvision's ImageNet weights, which it fetches into torch's cache (`TORCH_HOME`)."""
    checkpoint: Annotated[str | None, Trait.A_PATH, Trait.A_CHOICE_OF_STORED] = None
    """A trained teacher's checkpoint; nothing is trained then. A folder of this tool, `shipped:drawn_roads`, or a
    file (`.pth`, `.pth.tar`, `.pt`) with the PSPNet of the authors' code; that one needs `options.layout = "authors"`.
    The one teacher's setting that a space may hold: a choice of checkpoints, each compared and answered once."""
    keep_epochs: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Trait.CHANGEABLE, Trait.ADDED_LATER] = ()
    """Epochs of the teacher's own training whose checkpoints stay beside the best one's. A teacher stopped early often
    teaches better (Cho and Hariharan 2019): other studies may take them as `teacher.checkpoint`, or search them."""
    allow_weak: Annotated[bool, Trait.CHANGEABLE] = False
    """Go on with a teacher that does not beat the plain student on `val`; the comparison is recorded either way."""
    training: TrainingSettings = TrainingSettings()

    @model_validator(mode="after")
    def _check(self) -> Self:
        starts = [name for name in ("init", "pretrained", "checkpoint") if getattr(self, name) is not None]
        if len(starts) > 1:
            raise BrokenRuleError(
                f"teacher.{starts[1]}", "the teacher has one origin", " and ".join(starts), "keep one"
            )
        self._check_kept()
        return self

    def _check_kept(self) -> None:
        where, last = "teacher.keep_epochs", self.training.epochs
        if self.keep_epochs and self.checkpoint is not None:
            raise BrokenRuleError(where, "needs a teacher that is trained here", "teacher.checkpoint", "keep one")
        late = [epoch for epoch in self.keep_epochs if epoch > last]
        if late:
            rule = f"holds epochs of the teacher's training, at most teacher.training.epochs = {last}"
            raise BrokenRuleError(where, rule, str(late[0]), "remove it, or train longer")
