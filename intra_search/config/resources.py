"""Settings of what one trial gets of the cluster."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from intra_search.config.base import BrokenRuleError, Settings


class ResourcesSettings(Settings):
    """What one trial gets of the cluster."""

    workers: int = Field(default=1, ge=1, le=10_000)
    """Training processes of one trial; above 1 they run in a Ray Train group."""
    cpus_per_worker: float = Field(default=1, ge=0.001, le=10_000)
    gpus_per_worker: Annotated[int, Field(ge=0, le=1000)] | Literal["auto"] = "auto"
    """`auto`: one where the cluster has any, else none."""
    trials_per_gpu: int = Field(default=1, ge=1, le=1000)
    """One-worker trials that share a GPU."""
    max_restarts: int = Field(default=8, ge=0, le=1_000_000)
    """How often work may be tried again after a failure: a trial whose workers die (killed, out of memory, machine
    lost), the teacher's training, a shard of the teacher's answers. An error that comes twice with nothing stored
    between ends it earlier; a machine that is taken away with notice does not count. Errors
    within a training process, and deaths of processes, are counted apart."""
    loader_processes: int = Field(default=0, ge=0, le=1000)
    """Processes per worker that decode scenes ahead; 0: the training process decodes them itself."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.workers > 1 and self.trials_per_gpu > 1:
            found, remedy = f"{self.trials_per_gpu} with {self.workers} workers", "set one of the two to 1"
            raise BrokenRuleError("resources.trials_per_gpu", "is for trials of one worker", found, remedy)
        return self
