"""The stopping rules by name. A new one is a file beside this one and a line here."""

from intra_search.config.study import StudySettings
from intra_search.search.stopping.halving import Halving
from intra_search.search.stopping.rule import NeverStop, StoppingRule

STOPPING_RULES: dict[str, type[StoppingRule]] = {"halving": Halving, "none": NeverStop}


def stopping_rule(settings: StudySettings) -> StoppingRule:
    """The rule that a study's settings ask for."""
    return STOPPING_RULES["halving" if settings.search.halving.enabled else "none"](settings)
