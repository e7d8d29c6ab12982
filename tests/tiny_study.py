"""A data set and settings small enough that a whole training takes a second."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from intra_search.config.parsing import parse_settings
from intra_search.config.study import StudySettings

HEIGHT, WIDTH = 32, 64
CLASSES = ("background", "line", "dash")


def write_roads(root: Path, count: int = 12, seed: int = 0) -> None:
    """A `folder` data set of grey roads with a white line and a yellow dash, `count` scenes in groups of two."""
    rng = np.random.default_rng(seed)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    (root / "classes.csv").write_text("index,name\n" + "".join(f"{i},{name}\n" for i, name in enumerate(CLASSES)))
    groups = ["name,group"]
    for number in range(count):
        image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
        labels = np.zeros((HEIGHT, WIDTH), np.uint8)
        for index, color, thickness in ((1, (230, 230, 230), 5), (2, (40, 200, 220), 4)):
            start, end = (int(x) for x in rng.integers(8, WIDTH - 8, 2))
            cv2.line(image, (start, HEIGHT), (end, HEIGHT // 3), color, thickness)
            cv2.line(labels, (start, HEIGHT), (end, HEIGHT // 3), index, thickness)
        noise = rng.integers(-10, 10, image.shape)
        cv2.imwrite(str(root / "images" / f"road{number:03d}.png"), np.clip(image + noise, 0, 255).astype(np.uint8))
        cv2.imwrite(str(root / "masks" / f"road{number:03d}.png"), labels)
        groups.append(f"road{number:03d},drive{number // 2}")
    (root / "groups.csv").write_text("\n".join(groups) + "\n")


def tiny_tree(root: Path, **groups: dict[str, Any]) -> dict[str, Any]:
    """Settings as a nested dict, as a study file holds them; keyword groups are merged over the tiny ones."""
    training = {
        "epochs": 2,
        "batch_size": 2,
        "optimizer": "adamw",
        "learning_rate": 0.003,
        "amp": "off",
        "background_weight": 0.2,
    }
    tree: dict[str, Any] = {
        "scenes": {"dataset": "folder", "root": str(root), "height": HEIGHT, "width": WIDTH, "views": 2},
        "teacher": {
            "network": "pspnet_resnet18",
            "options": {"head_channels": 8, "bins": [1, 2]},
            "allow_weak": True,  # one epoch on a dozen roads teaches nothing
            "training": {**training, "epochs": 1},
        },
        "student": {
            "network": "erfnet",
            "erfnet": {"width": 0.25, "blocks": [1, 1]},
            "enet": {"width": 0.25, "blocks": [1, 1]},
            "resnet18": {"width": 0.25},
        },
        "training": training,
        "search": {"num_trials": 2, "twin": False},
        "resources": {"gpus_per_worker": 0},
    }
    for name, group in groups.items():
        tree[name] = {**tree.get(name, {}), **group}
    return tree


def tiny_settings(root: Path, **groups: dict[str, Any]) -> StudySettings:
    """`tiny_tree` as settings."""
    return parse_settings(tiny_tree(root, **groups))
