"""The device and the precision of a training, each with the reason for its choice, which is logged once."""

import logging
from contextlib import AbstractContextManager
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

logger = logging.getLogger(__name__)


class Placement(NamedTuple):
    """Device, autocast dtype (None: float32 throughout) and memory format of one training."""

    device: torch.device
    autocast_dtype: torch.dtype | None
    memory_format: torch.memory_format
    reason: str

    def autocast(self) -> AbstractContextManager[None]:
        """Context of the forward pass and the loss."""
        enabled = self.autocast_dtype is not None
        return torch.autocast(self.device.type, dtype=self.autocast_dtype or torch.bfloat16, enabled=enabled)

    def network(self, network: nn.Module) -> nn.Module:
        return network.to(self.device, memory_format=self.memory_format)  # type: ignore[call-overload, no-any-return]

    def images(self, images: Tensor) -> Tensor:
        return images.to(self.device, memory_format=self.memory_format, non_blocking=True)

    def labels(self, labels: Tensor) -> Tensor:
        return labels.to(self.device, non_blocking=True)


Amp = Literal["auto", "bf16", "off"]


def place(amp: Amp, *, use_gpu: bool) -> Placement:
    """Chooses device and precision. `use_gpu` is what the trial was given, not what the machine has."""
    device = torch.device("cuda", torch.cuda.current_device()) if use_gpu else torch.device("cpu")
    if resolved_amp(amp, use_gpu=use_gpu) == "bf16":
        dtype: torch.dtype | None = torch.bfloat16
        why = "training.amp = bf16" if amp == "bf16" else f"{device.type} has bfloat16 units"
    else:
        dtype = None
        why = "training.amp = off" if amp == "off" else f"{device.type} has no bfloat16 units"
    precision = "bfloat16 autocast" if dtype else "float32"
    # Tensor cores and oneDNN compute in channels-last: so no feature map needs reordering.
    return Placement(device, dtype, torch.channels_last, f"{precision} on {device}: {why}")


def resolved_amp(amp: Amp, *, use_gpu: bool) -> Literal["bf16", "off"]:
    """The precision that `amp` means on this machine."""
    if amp != "auto":
        return amp
    has_units = torch.cuda.is_bf16_supported(including_emulation=False) if use_gpu else _cpu_has_bf16_units()
    return "bf16" if has_units else "off"


def _cpu_has_bf16_units() -> bool:
    # Emulated bfloat16 takes 1.6 times as long as float32 (measured), so the CPU's instruction sets decide, not torch.
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("amx_tile"))
