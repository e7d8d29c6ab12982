"""CWD: channel-wise distillation (Shu et al. 2021)."""

# B images, C channels, h w height and width

from collections.abc import Mapping

from torch import Tensor, nn

from intra_search.config.distill import DistillSettings
from intra_search.distill.adapter import pair_adapters
from intra_search.distill.needs import FeatureNeed, LogitsNeed, Need, answer_of, pooled_logits
from intra_search.distill.term import Term, TermContext, TermResult, joined, per_image
from intra_search.networks.output import NetworkOutput


def cwd_gap(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(phi(teacher) || phi(student)), where phi is a softmax over positions; mean over channels.

    (B, C, h, w) to (B,).
    """
    student_BCN = (student.flatten(2) / temperature).log_softmax(dim=2)
    teacher_BCN = (teacher.detach().flatten(2) / temperature).log_softmax(dim=2)
    divergence_BC = (teacher_BCN.exp() * (teacher_BCN - student_BCN)).sum(dim=2)
    return temperature**2 * divergence_BC.mean(dim=1)


class CWDTerm(Term):
    """`cwd_gap` of logits, or its sum over layer pairs of features, with a 1x1 adapter where channel counts differ."""

    def __init__(self, settings: DistillSettings, context: TermContext) -> None:
        super().__init__(settings, context)
        self.adapters = nn.ModuleList()
        if settings.cwd.on == "features":
            pairs = self._checked_pairs()
            self.anchor = self._deepest(tuple(student_layer for student_layer, _, _ in pairs))
            self.adapters = pair_adapters(pairs, context, always=False)

    @classmethod
    def needs_of(cls, settings: DistillSettings) -> tuple[Need, ...]:
        if settings.cwd.on == "logits":
            return (LogitsNeed(settings.cwd.stride),)
        return tuple(FeatureNeed(teacher_layer) for _, teacher_layer, _ in settings.weighted_layers)

    def forward(self, student: NetworkOutput, answers: Mapping[str, Tensor], labels: Tensor) -> TermResult:
        options = self.settings.cwd
        if options.on == "logits":
            teacher = answer_of(answers, LogitsNeed(options.stride).key)
            return per_image(cwd_gap(pooled_logits(student.logits, options.stride), teacher, options.temperature))
        results = []
        for adapter, (student_layer, teacher_layer, weight) in zip(
            self.adapters, self.settings.weighted_layers, strict=True
        ):
            teacher = answer_of(answers, FeatureNeed(teacher_layer).key)
            adapted = adapter(student.features[student_layer], teacher.shape[2:])
            results.append(per_image(cwd_gap(adapted, teacher, options.temperature), weight))
        return joined(results)
