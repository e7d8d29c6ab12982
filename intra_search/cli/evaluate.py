"""`evaluate`: scores of a checkpoint on a split, and its predictions as files that a benchmark accepts."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from intra_search.cli.printing import echo
from intra_search.errors import SceneError, SettingError

if TYPE_CHECKING:
    from intra_search.deploy.prediction import Predictor
    from intra_search.scenes.scene_set import SceneSet

CheckpointArgument = Annotated[str, typer.Argument(metavar="CHECKPOINT", help="Folder or URI of a checkpoint.")]
Split = Literal["val", "test", "submission"]


def evaluate(
    checkpoint: CheckpointArgument,
    split: Annotated[
        Split, typer.Option(help="submission: the official test frames, which need no labels here.")
    ] = "test",
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="Another folder of scenes (scenes.root).")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Other scenes.*")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Write a PNG: pictures, labels, predictions.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the benchmark's submission files there, and score them officially.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score a checkpoint on the scenes it was trained for, or on others (--data DIR)."""
    predictor = _predictor(checkpoint, data, set_ or [])
    if split == "submission":
        found = _submitted(predictor, out)
    else:
        found = _evaluated(predictor, _open(predictor, split), split, sheet, out)
    if as_json:
        typer.echo(json.dumps(found, indent=1))
    elif split == "submission":
        echo(f"{found['scenes']} frames of the official test set predicted in {out}; nothing scored")
    else:
        _print(found)


def _predictor(checkpoint: str, data: Path | None, settings: list[str]) -> "Predictor":
    from intra_search.config.study_file import parse_override
    from intra_search.deploy.prediction import Predictor, scenes_of
    from intra_search.networks.checkpoint import read_checkpoint_about
    from intra_search.store.storage import Storage

    changes = dict(parse_override(text) for text in settings)
    if data is not None:
        changes["scenes.root"] = str(data.absolute())
    return Predictor(checkpoint, scenes_of(read_checkpoint_about(Storage(checkpoint), ""), changes))


def _open(predictor: "Predictor", split: Literal["val", "test"]) -> "SceneSet":
    from intra_search.scenes.scene_set import open_scenes

    scenes = open_scenes(predictor.scenes, split)
    known, wanted = [row.name for row in predictor.classes], [row.name for row in scenes.classes]
    if known != wanted:
        rule = "must have the classes that the checkpoint knows"
        raise SceneError("scenes", rule, ", ".join(wanted[:6]), "use the data set it was trained on")
    return scenes


def _evaluated(
    predictor: "Predictor", scenes: "SceneSet", split: Literal["val", "test"], sheet: Path | None, out: Path | None
) -> dict[str, Any]:
    if out is not None:
        _check_submittable(predictor)
    found: dict[str, Any] = {"split": split, "scenes": len(scenes), "groups": ", ".join(sorted(set(scenes.groups))[:8])}
    found |= _scores(predictor, scenes)
    if sheet is not None:
        _write_sheet(predictor, scenes, sheet)
    if out is not None:
        from intra_search.deploy.benchmark import score_split
        from intra_search.deploy.submission import predicted

        found["out"] = str(out)
        found["official"] = score_split(scenes, predictor.scenes, lambda image: predicted(predictor, image), out=out)
    return found


def _submitted(predictor: "Predictor", out: Path | None) -> dict[str, Any]:
    from intra_search.deploy.benchmark import write_submission
    from intra_search.deploy.submission import predicted
    from intra_search.scenes.unlabelled import unlabelled_frames

    if out is None:
        raise SettingError("--out", "--split submission writes files", "no --out", "name a folder for them")
    _check_submittable(predictor)
    pictures = unlabelled_frames(predictor.scenes)
    write_submission(pictures, predictor.scenes, lambda image: predicted(predictor, image), out)
    return {"split": "submission", "scenes": len(pictures), "out": str(out)}


def _check_submittable(predictor: "Predictor") -> None:
    from intra_search.deploy.benchmark import SCORERS

    if predictor.scenes.dataset not in SCORERS:
        rule, found = f"has a submission format for {', '.join(SCORERS)}", predictor.scenes.dataset
        raise SettingError("--out", rule, found, "use `predict` for labels of other pictures")


def _scores(predictor: "Predictor", scenes: "SceneSet") -> dict[str, Any]:
    from intra_search.distill.workers import ALONE
    from intra_search.metrics.segmentation import segmentation_scores
    from intra_search.training.batches import evaluation_loader
    from intra_search.training.evaluation import Background, confusion

    place, num_classes = predictor.place, len(scenes.classes)
    loader = evaluation_loader(scenes, 8, ALONE, num_processes=0, pin=place.device.type == "cuda")
    scores, background = (
        segmentation_scores(confusion(network, loader, num_classes, place, ALONE).cpu())
        for network in (predictor.network, Background(num_classes))
    )
    names = [scene_class.name for scene_class in scenes.classes]
    return {
        "miou": scores.miou,
        "background_miou": background.miou,
        "pixel_accuracy": scores.pixel_accuracy,
        "class_iou": dict(zip(names, scores.class_iou, strict=True)),
    }


def _write_sheet(predictor: "Predictor", scenes: "SceneSet", path: Path) -> None:
    """Writes one picture of eight scenes, spread evenly over the split: image, labels, predictions."""
    import numpy as np

    from intra_search.report.pictures import painted, sheet
    from intra_search.scenes.writers.files import write_image

    rows = []
    for index in np.unique(np.linspace(0, len(scenes) - 1, 8).astype(int)):
        view = scenes.evaluation(int(index))
        predicted = predictor.output(view.image.unsqueeze(0)).logits.argmax(dim=1)[0].cpu()
        image = view.image.permute(1, 2, 0).numpy()
        both = [painted(image, labels.numpy().astype(np.uint8), scenes.classes) for labels in (view.labels, predicted)]
        rows.append([image, *both])
    write_image(path, sheet(rows))


def _print(found: dict[str, Any]) -> None:
    echo(f"{found['scenes']} scenes of {found['split']}: {found['groups']}")
    echo(f"miou {found['miou']:.4f} (background only {found['background_miou']:.4f})")
    for name, iou in found["class_iou"].items():
        echo(f"  {name}: {'absent' if iou is None else f'{iou:.4f}'}")
    if "official" in found:
        echo(f"official scores of the files in {found['out']}:")
    for name, value in found.get("official", {}).items():
        if isinstance(value, int | float):
            echo(f"  {name}: {value:.4f}" if isinstance(value, float) else f"  {name}: {value}")
