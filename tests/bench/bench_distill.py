"""Time and memory of IntRA-KD's terms, against a loop over classes and against one plain pass over the features.

Run `python tests/bench/bench_distill.py`; it prints a table. Each row is measured in its own process (so the peak
memory is its own), on one thread and in processor time (so other programs disturb little). Times are the best of
several steps.
Regions are taken from the labels once (their time is a row of its own): a training step shares them over layer pairs.

`--gpu` times the same steps on the GPU, by its own clock, with the copy speed of the card beside them: a step must read
the features twice and write their gradient once, so its floor is the time of that traffic at the card's copy speed.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from intra_search.distill.affinity import affinity_sum, centred_moments
from intra_search.distill.attention import attention_loss, map_of_form
from intra_search.distill.functional import (
    affinity_graph,
    affinity_loss,
    region_masks,
    region_moments,
    region_presence,
)
from intra_search.distill.moments import region_cells

ORDERS = (1, 2, 3)
KERNEL_SIZE = 5
STRIDE = 8
NUM_MARKINGS = 40
ROWS = (
    "plain pass",
    "sum of squares",
    "loop over classes",
    "affinity term",
    "centred, by size",
    "attention, sum",
    "attention, std.",
    "regions",
)
"""`affinity term` is the paper's form, orders 1 to 3; `centred, by size` has all options on, orders 1 and 2."""


class Shape(NamedTuple):
    images: int
    classes: int
    channels: int
    height: int
    width: int


SHAPES = (Shape(4, 37, 128, 64, 208), Shape(4, 5, 512, 36, 100))
GPU_SHAPES = (*SHAPES, Shape(16, 37, 512, 64, 208))
"""The last one fills a large card; the others are small for one."""


def road_labels(shape: Shape) -> Tensor:
    """Slanted strips of random classes on background, some of it ignored: as ragged as a road with many markings."""
    generator = torch.Generator().manual_seed(0)
    height, width = STRIDE * shape.height, STRIDE * shape.width
    labels = torch.zeros(shape.images, height, width, dtype=torch.uint8)
    y, x = torch.arange(height).view(-1, 1), torch.arange(width)
    for image in labels:
        for draw in torch.rand(NUM_MARKINGS, 6, generator=generator).tolist():
            top, length = draw[0] * height, draw[1] * height / 2
            centre = draw[2] * width + (draw[3] - 0.5) * 4 * (y - top)
            strip = (y >= top) & (y < top + length) & ((x - centre).abs() < 4 + 20 * draw[4])
            image[strip] = 1 + int(draw[5] * (shape.classes - 1))
    labels[:, -STRIDE:] = 255
    return labels


def loop_over_classes(features: Tensor, masks: Tensor, orders: tuple[int, ...]) -> Tensor:
    """The obvious implementation: for every class, the formulas on the whole map."""
    moments = []
    for k in range(masks.shape[1]):
        mask = masks[:, k : k + 1]
        count = mask.sum(dim=(2, 3), keepdim=True).clamp_min(1)
        mean = (features * mask).sum(dim=(2, 3), keepdim=True) / count
        centred = (features - mean) * mask
        variance = centred.square().sum(dim=(2, 3), keepdim=True) / count
        standard = centred / (variance + 1e-8).sqrt()
        of_order = {1: mean, 2: variance} | {
            r: (standard**r).sum(dim=(2, 3), keepdim=True) / count for r in orders if r > 2
        }
        moments.append(torch.stack([of_order[r].flatten(1) for r in orders], dim=1))
    return torch.stack(moments, dim=2)


def candidates(
    shape: Shape, channels_last: bool, device: str = "cpu", orders: tuple[int, ...] = ORDERS
) -> dict[str, Callable[[], None]]:
    """One step each: forward, and backward into the features."""
    generator = torch.Generator().manual_seed(1)
    size = (shape.height, shape.width)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    features = torch.randn(shape.images, shape.channels, *size, generator=generator).contiguous(memory_format=layout)
    features = features.to(device).requires_grad_()
    labels = road_labels(shape).to(device)
    masks = region_masks(labels, shape.classes, KERNEL_SIZE, size)
    present = region_presence(masks, orders)
    teacher = affinity_graph(torch.randn(shape.images, len(orders), shape.classes, 64, generator=generator)).to(device)

    def term(moments: Callable[[Tensor, Tensor, tuple[int, ...]], Tensor]) -> None:
        features.grad = None
        affinity_loss(affinity_graph(moments(features, masks, orders)), teacher, present).backward()

    cells = region_cells(masks)

    def late_form() -> None:
        """Orders 1 and 2, less what the regions share, pairs weighted by size."""
        features.grad = None
        graph = affinity_graph(centred_moments(region_moments(features, masks, orders[:2]), cells, orders[:2]))
        total, count = affinity_sum(graph, teacher[:, :2], present[:, :2], order_weights=(1.0, 0.5), sizes=cells)
        (total / count).backward()

    def attention(form: Literal["standardised", "sum"]) -> None:
        features.grad = None
        attention_loss(map_of_form(features, form), teacher_map).backward()

    teacher_map = torch.rand(shape.images, *size, generator=generator).to(device)

    def plain_pass() -> None:
        features.grad = None
        features.sum().backward()

    def square_pass() -> None:
        features.grad = None
        features.square().sum().backward()

    def regions() -> None:
        region_masks(labels, shape.classes, KERNEL_SIZE, size)

    return {
        "plain pass": plain_pass,
        "sum of squares": square_pass,
        "loop over classes": lambda: term(loop_over_classes),
        "affinity term": lambda: term(region_moments),
        "centred, by size": late_form,
        "attention, sum": lambda: attention("sum"),
        "attention, std.": lambda: attention("standardised"),
        "regions": regions,
    }


def measure(shape: Shape, name: str, channels_last: bool) -> dict[str, float]:
    """Best seconds of a step, and how far the step raised the process's peak memory, in bytes."""
    torch.set_num_threads(1)
    step = candidates(shape, channels_last)[name]
    # Linux only: 5 resets the peak, so that what made the inputs does not count.
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_bytes()
    seconds: list[float] = []
    until = time.perf_counter() + 5
    while len(seconds) < 3 or (time.perf_counter() < until and len(seconds) < 20):
        started = time.process_time()
        step()
        seconds.append(time.process_time() - started)
    return {"seconds": min(seconds), "bytes": peak_bytes() - before}


def peak_bytes() -> float:
    """Peak resident memory of this process since it was last reset."""
    status = Path("/proc/self/status").read_text()
    return 1024.0 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def gpu_seconds(step: Callable[[], object], repeats: int = 30) -> float:
    """Median of a step by the GPU's clock."""
    seconds: list[float] = []
    for turn in range(repeats + 5):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        step()
        end.record()
        torch.cuda.synchronize()
        seconds += [start.elapsed_time(end) / 1e3] if turn >= 5 else []
    return statistics.median(seconds)


def copy_speed() -> float:
    """Bytes per second that the card reads and writes in a large copy."""
    source = torch.randn(2**28, device="cuda")
    target = torch.empty_like(source)
    return 2.0 * float(source.nbytes) / gpu_seconds(lambda: target.copy_(source))


def on_gpu() -> None:
    speed = copy_speed()
    sys.stdout.write(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, copy {speed / 1e12:.2f} TB/s\n")
    for shape in GPU_SHAPES:
        floor = 3 * 4 * shape.images * shape.channels * shape.height * shape.width / speed
        for orders in ((1, 2), ORDERS):
            sys.stdout.write(
                f"\nB, K, C, h, w {tuple(shape)}, channels last, orders {orders}: floor {1e3 * floor:.3f} ms\n"
            )
            for name, step in candidates(shape, True, "cuda", orders).items():
                seconds = gpu_seconds(step)
                sys.stdout.write(f"  {name:18s} {1e3 * seconds:8.3f} ms  {seconds / floor:7.1f} x the floor\n")


def main() -> None:
    for shape in SHAPES:
        for channels_last in (False, True):
            rows = {}
            for name in ROWS:
                command = [sys.executable, __file__, json.dumps(shape), name, str(int(channels_last))]
                rows[name] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            layout = "channels last" if channels_last else "contiguous"
            sys.stdout.write(f"\nB {shape[0]}, K {shape[1]}, C {shape[2]}, {shape[3]}x{shape[4]}, {layout}\n")
            plain, loop = rows["plain pass"]["seconds"], rows["loop over classes"]["seconds"]
            for name, row in rows.items():
                seconds, mebibytes = row["seconds"], row["bytes"] / 2**20
                ratios = f"{seconds / plain:6.1f} x plain pass  {loop / seconds:6.1f} x faster than the loop"
                sys.stdout.write(f"  {name:18s} {1e3 * seconds:8.1f} ms  {mebibytes:7.1f} MiB  {ratios}\n")


if __name__ == "__main__":
    if sys.argv[1:] == ["--gpu"]:
        on_gpu()
    elif len(sys.argv) > 1:
        chosen = Shape(*json.loads(sys.argv[1]))
        sys.stdout.write(json.dumps(measure(chosen, sys.argv[2], bool(int(sys.argv[3])))))
    else:
        main()
