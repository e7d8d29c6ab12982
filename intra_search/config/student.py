"""Settings of the student: which network, and one group of settings per family of networks.

A new family is a class and a field here, named as its network in the table `NETWORKS` of `intra_search.networks.build`,
whose keyword arguments its settings are. Its defaults are the published network.
"""

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from intra_search.config.base import BrokenRuleError, Settings
from intra_search.config.traits import Trait, group_of

Width = Annotated[float, Field(ge=0.0625, le=4)]


class ERFNetSettings(Settings):
    """Options of the student `erfnet`."""

    width: Width = 1.0
    """Multiplies every channel count, rounded to multiples of 4; 1 is the published network."""
    blocks: tuple[int, int] = (5, 8)
    """Factorized residual blocks at 1/4 and at 1/8 of the input; 5 and 8 is the published network."""


class ENetSettings(Settings):
    """Options of the student `enet`."""

    width: Width = 1.0
    """Multiplies every channel count, rounded to multiples of 4; 1 is the published network."""
    blocks: tuple[int, int] = (5, 8)
    """Bottlenecks at 1/4 and at 1/8 of the input; 4 and 16 is the published network. The default is that of older
    studies, which had one `blocks` for all networks."""


class ResNet18Settings(Settings):
    """Options of the student `resnet18`."""

    width: Width = 1.0
    """Multiplies every channel count, rounded to multiples of 4; 1 is the published network."""


class StudentSettings(Settings):
    """The student's architecture. Of the families' groups, the one that `network` names counts."""

    network: str = "erfnet"
    """One of the families below."""
    erfnet: ERFNetSettings = ERFNetSettings()
    enet: ENetSettings = ENetSettings()
    resnet18: ResNet18Settings = ResNet18Settings()
    init: Annotated[str | None, Trait.A_PATH] = None
    """Checkpoint to start every trial from: of the same architecture, its classifier may have other classes."""

    def options(self) -> dict[str, Any]:
        """Keyword arguments of `build_network` for this student."""
        family: Settings = getattr(self, self.network)
        return family.model_dump()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.network not in STUDENT_FAMILIES:
            rule = f"must be one of {', '.join(STUDENT_FAMILIES)}"
            raise BrokenRuleError("student.network", rule, repr(self.network), "name one of them")
        return self


STUDENT_FAMILIES: dict[str, type[Settings]] = {
    name: group for name, field in StudentSettings.model_fields.items() if (group := group_of(field)) is not None
}
"""Settings of each network that can be a student."""


NETWORK = "student.network"
"""Path of the setting that says which family counts."""


def family_of(path: str) -> str | None:
    """The family that a setting such as `student.erfnet.width` belongs to; None for any other path."""
    group, _, rest = path.partition(".")
    family = rest.partition(".")[0]
    return family if group == "student" and family in STUDENT_FAMILIES else None
