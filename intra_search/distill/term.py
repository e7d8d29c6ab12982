"""The contract of a term, one loss on what student and teacher say about the same view."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

from intra_search.config.settings import DistillSettings
from intra_search.distill.needs import Need, check_layer
from intra_search.networks.output import NetworkOutput


class TermContext(NamedTuple):
    """What a term must know of the two networks beside its settings."""

    num_classes: int
    student_channels: Mapping[str, int]
    """`feature_channels` of the student."""
    teacher_channels: Mapping[str, int]
    """`feature_channels` of the teacher."""


class TermResult(NamedTuple):
    """Sums and counts of the averages that make up a term: its value is the sum of `sums / counts`.

    Both are (P,), one entry per average (per layer pair, for terms on features), so that sums and counts can be added
    over workers before they are divided. `sums` is attached to the student; an entry without anything to count is 0.
    """

    sums: Tensor
    counts: Tensor


class Term(nn.Module):
    """One loss. Trainable parts (adapters) are its parameters; a subclass is listed in the table `TERMS`."""

    def __init__(self, settings: DistillSettings, context: TermContext) -> None:
        super().__init__()
        self.settings = settings
        self.context = context

    @classmethod
    def needs_of(cls, settings: DistillSettings) -> tuple[Need, ...]:
        """What the term asks of the teacher under these settings."""
        raise NotImplementedError

    def forward(self, student: NetworkOutput, answers: Mapping[str, Tensor], labels: Tensor) -> TermResult:
        """Compares the student with the teacher's answers on one batch; labels (B, H, W), 255 = ignored."""
        raise NotImplementedError

    def _check_layers(self) -> None:
        for student_layer, teacher_layer in self.settings.layers:
            check_layer("student", student_layer, self.context.student_channels)
            check_layer("teacher", teacher_layer, self.context.teacher_channels)
