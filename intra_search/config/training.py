"""Settings of one training."""

from typing import Annotated, Literal

from pydantic import Field

from intra_search.config.base import Settings, Weight
from intra_search.config.traits import Trait


class TrainingSettings(Settings):
    """One training, of the teacher or of a student."""

    epochs: Annotated[int, Trait.ONE_FOR_ALL_TRIALS] = Field(default=24, ge=1, le=1_000_000)
    batch_size: Annotated[int, Trait.ONE_FOR_ALL_TRIALS] = Field(default=8, ge=1, le=100_000)
    """Views per step over all workers together; the ragged last batch is dropped."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = Field(default=0.01, ge=1e-8, le=1000)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of SGD; AdamW takes (0.9, 0.999)."""
    weight_decay: float = Field(default=1e-4, ge=0, le=10)
    poly_power: float = Field(default=0.9, ge=0, le=20)
    """Learning rate falls as (1 - progress) ** poly_power; 0 keeps it constant."""
    schedule_step: Literal["epoch", "step"] = "step"
    """When progress moves on. The authors' code steps per epoch."""
    background_weight: float = Field(default=0.4, ge=1e-6, le=1e6)
    """Weight of class 0 in the cross-entropy (paper: 0.05 ApolloScape, 0.4 CULane and LLAMAS)."""
    ignored_class_weight: float = Field(default=0.05, ge=1e-6, le=1e6)
    """Weight of the last class when `scenes.ignored_class` is on (the authors' code: 0.05)."""
    existence_weight: Weight = 0.1
    """Weight of the existence branch's loss on data sets of lanes (0.1 in all released lane codes); 0: no branch."""
    clip_gradient_norm: float | None = Field(default=None, ge=1e-6, le=1e6)
    """Largest norm of the whole gradient; none: not clipped."""
    amp: Literal["auto", "bf16", "off"] = "auto"
    """Autocast to bfloat16; `auto`: where the device has bfloat16 units, else float32."""
    compile: bool = False
    """`torch.compile` the network; pays off in long trainings only."""
