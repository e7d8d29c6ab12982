"""Rules that all networks share: valid input sizes, and channel counts for a width factor."""

from collections.abc import Sequence

from torch import Tensor

from intra_search.errors import SettingError

MOST_BLOCKS = 1000
"""Of a stage; more than a machine can train."""
OUTPUT_STRIDE = 8


def check_input_size(images: Tensor) -> None:
    """Raises `SettingError`, naming the nearest valid size, unless height and width are multiples of 8."""
    height, width = images.shape[-2:]
    if height % OUTPUT_STRIDE == 0 and width % OUTPUT_STRIDE == 0:
        return
    raise SettingError(
        "network input",
        f"height and width must be multiples of {OUTPUT_STRIDE}",
        f"{height}x{width}",
        f"the nearest valid size is {_nearest(height)}x{_nearest(width)}",
    )


def scaled_channels(published: Sequence[int], width: float) -> tuple[int, ...]:
    """Channel counts of consecutive stages at a width factor: multiples of 4, at least 4, strictly growing.

    They must grow because a downsampler concatenates its pooled input with at least one new channel. For tiny widths,
    rounding would make two stages equal.
    """
    if not width > 0:
        raise SettingError("network width", "must be > 0", width, "1 is the published network")
    channels: list[int] = []
    for count in published:
        floor = channels[-1] + 4 if channels else 4
        channels.append(max(floor, 4 * round(count * width / 4)))
    return tuple(channels)


def check_blocks(blocks: Sequence[int]) -> tuple[int, int]:
    """The pair (blocks at 1/4, blocks at 1/8). Raises `SettingError` for anything else."""
    if len(blocks) != 2 or min(blocks) < 0 or max(blocks) > MOST_BLOCKS:
        rule = f"must be two counts from 0 to {MOST_BLOCKS}: blocks at 1/4 and at 1/8 of the input"
        raise SettingError("network blocks", rule, list(blocks), "published ERFNet is [5, 8], ENet [4, 16]")
    return blocks[0], blocks[1]


def _nearest(size: int) -> int:
    return max(OUTPUT_STRIDE, OUTPUT_STRIDE * round(size / OUTPUT_STRIDE))
