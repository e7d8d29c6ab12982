"""Draws docs/method.png: one drawn scene, its regions, their moments, and the affinity graphs of teacher and student.

Run `python docs/method_figure.py`. Both networks are trained for a minute on drawn scenes first, so that the graphs
show something; the scene of the figure is not among them.
"""

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from intra_search.distill.functional import affinity_graph, region_masks, region_moments
from intra_search.networks import build_network
from intra_search.scenes.labels import apolloscape_classes
from intra_search.scenes.synthetic import draw_scene

HEIGHT, WIDTH = 112, 280
NUM_SCENES, STEPS, BATCH = 32, 60, 4
KERNEL_SIZE = 5
NUM_CHANNELS = 32
NUM_REGIONS = 7
PANEL = (384, 960)
SQUARE = 300
Image = NDArray[np.uint8]


def scene(number: int) -> tuple[Tensor, Tensor]:
    """(3, H, W) in about -2..2, and (H, W) labels."""
    image, labels = draw_scene(0, number, HEIGHT, WIDTH)[:2]
    return torch.from_numpy(image).permute(2, 0, 1).float() / 64 - 2, torch.from_numpy(labels).long()


def trained(name: str, num_classes: int, **options: object) -> nn.Module:
    torch.manual_seed(0)
    network = build_network(name, num_classes, **options).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    scenes = [scene(number) for number in range(NUM_SCENES)]
    weights = torch.ones(num_classes)
    weights[0] = 0.1
    for step in range(STEPS):
        batch = [scenes[(step * BATCH + index) % NUM_SCENES] for index in range(BATCH)]
        images, labels = (torch.stack(parts) for parts in zip(*batch, strict=True))
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images).logits, labels, weights, ignore_index=255).backward()
        optimizer.step()
    return network.eval()


def enlarged(pixels: Image) -> Image:
    height, width = PANEL
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_NEAREST)


def titled(panel: Image, text: str) -> Image:
    panel = cv2.copyMakeBorder(panel, 44, 12, 12, 12, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    return cv2.putText(panel, text, (14, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.75, (0, 0, 0), 2, cv2.LINE_AA)


def graph_panel(graph: Tensor, present: list[int], colors: Image) -> Image:
    """Cosines from 0 (white) to 1 (red), negative ones blue, between the regions whose colours stand at the margins."""
    values = graph[present][:, present].clamp(-1, 1).numpy()
    fade = 1 - np.abs(values)
    cells = np.stack([np.where(values < 0, fade, 1), fade, np.where(values < 0, 1, fade)], axis=2)
    count = len(present) + 1
    framed = np.full((count, count, 3), 255, np.uint8)
    framed[1:, 1:], framed[0, 1:], framed[1:, 0] = (255 * cells).astype(np.uint8), colors[present], colors[present]
    square = cv2.resize(framed, (SQUARE, SQUARE), interpolation=cv2.INTER_NEAREST)
    for row in range(len(present)):
        for column in range(len(present)):
            place = (int((column + 1.1) * SQUARE / count), int((row + 1.6) * SQUARE / count))
            cv2.putText(square, f"{values[row, column]:.2f}", place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, 16)
    return square


def bars_panel(moments: Tensor, regions: list[int], colors: Image) -> Image:
    """Orders 1, 2, 3 from top to bottom: for each channel one bar per region, scaled to the largest."""
    height, width = PANEL
    panel = np.full((height, width, 3), 255, np.uint8)
    third = height // 3
    bar = width / (NUM_CHANNELS * (len(regions) + 1))
    for order, of_region in enumerate(moments):
        values = of_region[regions, :NUM_CHANNELS]
        values = values / values.abs().max()
        base = third * order + (third - 4 if order == 1 else third // 2)
        reach = third - 12 if order == 1 else third // 2 - 6
        for row, region in enumerate(regions):
            for channel in range(NUM_CHANNELS):
                left = int((channel * (len(regions) + 1) + row) * bar)
                tip = base - int(reach * values[row, channel].item())
                color = tuple(int(part) for part in colors[region])
                cv2.rectangle(panel, (left, base), (int(left + bar), tip), color, -1)
        cv2.line(panel, (0, base), (width, base), (0, 0, 0), 1)
    return panel


@torch.no_grad()
def main() -> None:
    classes = apolloscape_classes()
    num_classes = len(classes)
    colors = np.array([scene_class.color for scene_class in classes], np.uint8)
    colors[0] = (90, 90, 90)
    with torch.enable_grad():
        teacher = trained("pspnet_resnet18", num_classes, head_channels=64)
        student = trained("erfnet", num_classes)
    # The richest of some scenes that no training saw.
    image, labels = max((scene(NUM_SCENES + number) for number in range(60)), key=lambda pair: len(pair[1].unique()))
    graphs, masks, moments = [], torch.empty(0), torch.empty(0)
    for network, layer in ((teacher, "block5"), (student, "block3")):
        features = network(image[None]).features[layer]
        masks = region_masks(labels[None], num_classes, KERNEL_SIZE, (features.shape[2], features.shape[3]))
        moments = region_moments(features, masks, (1, 2, 3))
        graphs += list(affinity_graph(moments)[0])
    cells_of_region = masks[0].flatten(1).sum(dim=1)
    by_size = cells_of_region.argsort(descending=True)[: int((cells_of_region > 0).sum())].tolist()
    present = by_size[:NUM_REGIONS]
    shown = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    known = (labels != 255).numpy()
    shown[known] = colors[labels.numpy()[known]]
    # Overlapping regions: the rarer one is painted last.
    cells = np.full((HEIGHT // 8, WIDTH // 8, 3), 255, np.uint8)
    for region in by_size:
        cells[masks[0, region].bool().numpy()] = colors[region]
    panels = [
        ("drawn scene", enlarged(((image.permute(1, 2, 0).numpy() + 2) * 64).astype(np.uint8))),
        ("labels", enlarged(shown)),
        (f"regions at 1/8, kernel {KERNEL_SIZE}", enlarged(cells)),
        (
            "student's moments 1, 2, 3 of the five largest regions, by channel",
            bars_panel(moments[0], present[:5], colors),
        ),
    ]
    rows = [np.hstack([titled(panel, text) for text, panel in panels[row : row + 2]]) for row in (0, 2)]
    titles = [f"{network}, order {order}" for network in ("teacher", "student") for order in (1, 2, 3)]
    squares = [titled(graph_panel(graph, present, colors), text) for graph, text in zip(graphs, titles, strict=True)]
    last = np.hstack(squares)
    width = rows[0].shape[1]
    last = cv2.copyMakeBorder(last, 0, 0, 0, width - last.shape[1], cv2.BORDER_CONSTANT, value=(255, 255, 255))
    figure = cv2.cvtColor(np.vstack([*rows, last]), cv2.COLOR_RGB2BGR)
    figure = cv2.resize(figure, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(Path(__file__).with_name("method.png")), figure)


if __name__ == "__main__":
    main()
