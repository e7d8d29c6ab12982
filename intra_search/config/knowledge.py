"""Settings of how the teacher's answers reach the trials."""

from typing import Annotated, Literal

from pydantic import Field

from intra_search.config.base import Settings
from intra_search.config.traits import Trait


class KnowledgeSettings(Settings):
    """How the teacher's answers reach the trials."""

    mode: Literal["stored", "live", "auto"] = "stored"
    """`stored`: answered once per study and read by all trials; `live`: the teacher runs in every step; `auto`: times
    both for a few steps when the study begins and keeps what costs the whole search less."""
    store: Annotated[str | None, Trait.A_PATH, Trait.LOCAL] = None
    """Folder or URI of the answers; none: inside the study. Studies that name one store share what it holds."""
    max_gb: float = Field(default=100.0, gt=0, le=1e9)
    """Most that the answers may take, in 10^9 bytes; above it the teacher runs live."""
    node_cache_gb: Annotated[float, Trait.LOCAL] = Field(default=100.0, gt=0, le=1e9)
    """Most that a machine's copies of answers on object storage may take (beside its scenes), in 10^9 bytes."""
