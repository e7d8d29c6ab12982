"""`evaluate` and `predict`: what a checkpoint is worth on a split, and what it says of pictures."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from intra_search.errors import SceneError, SettingError

CheckpointArgument = Annotated[str, typer.Argument(metavar="CHECKPOINT", help="Folder or URI of a checkpoint.")]
PICTURES = (".jpg", ".jpeg", ".png")


def evaluate(
    checkpoint: CheckpointArgument,
    split: Annotated[str, typer.Option(help="val or test.")] = "test",
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Other scenes.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Write a PNG: pictures, labels, predictions.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the benchmark's submission files there, and score them officially.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score a checkpoint on the scenes it was trained for, or on others (--set scenes.root=DIR)."""
    if split not in ("val", "test"):
        raise typer.BadParameter("must be val or test", param_hint="--split")
    chosen: Literal["val", "test"] = "val" if split == "val" else "test"
    found = _evaluated(checkpoint, chosen, set_ or [])
    if sheet is not None:
        _write_sheet(checkpoint, chosen, set_ or [], sheet)
    if out is not None:
        found["official"] = _official_scores(checkpoint, chosen, set_ or [], out)
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    typer.echo(f"{found['scenes']} scenes of {split}: {found['groups']}")
    typer.echo(f"miou {found['miou']:.4f} (background only {found['background_miou']:.4f})")
    for name, iou in found["class_iou"].items():
        typer.echo(f"  {name}: {'absent' if iou is None else f'{iou:.4f}'}")
    if out is not None:
        typer.echo(f"official, on the files in {out}: {json.dumps(found['official'])}")


def predict(
    checkpoint: CheckpointArgument,
    pictures: Annotated[Path, typer.Argument(metavar="PICTURES", help="A picture, or a folder of them.")],
    out: Annotated[Path, typer.Option(help="Folder for index PNGs, one per picture.")],
    painted: Annotated[bool, typer.Option(help="Also write each picture with its labels painted over it.")] = False,
) -> None:
    """Label pictures with a checkpoint's network."""
    from intra_search.deploy.prediction import Predictor
    from intra_search.report.pictures import painted as paint
    from intra_search.scenes.images import read_image
    from intra_search.scenes.writers.files import write_image, write_mask

    files = [pictures] if pictures.is_file() else sorted(p for p in pictures.glob("*") if p.suffix.lower() in PICTURES)
    if not files:
        raise SceneError(str(pictures), "must be a picture or a folder of .jpg or .png files", "none", "check the path")
    if out.resolve() == files[0].parent.resolve():
        raise SceneError(str(out), "must not be the folder of the pictures", "the same", "choose another --out")
    _check_names(files, painted)
    predictor = Predictor(checkpoint)
    for file in files:
        image = read_image(file)
        labels = predictor.labels(image)
        write_mask(out / f"{file.stem}.png", labels)
        if painted:
            write_image(out / f"{file.stem}_painted.png", paint(image, labels, predictor.classes))
    typer.echo(f"{len(files)} label files in {out}")


def _check_names(files: list[Path], painted: bool) -> None:
    """Every picture's files must have names of their own."""
    owners: dict[str, Path] = {}
    for file in files:
        for name in [file.stem, *([f"{file.stem}_painted"] if painted else [])]:
            other = owners.setdefault(name, file)
            if other != file:
                found = f"{name}.png, which is written for {other.name} as well"
                raise SceneError(str(file), "names must differ before the suffix", found, "rename or move one")


def _scenes(about: dict[str, Any], split: Literal["val", "test"], overrides: list[str]) -> Any:
    from intra_search.config.settings import parse_settings, with_overrides
    from intra_search.config.study_file import parse_override
    from intra_search.scenes.scene_set import open_scenes

    settings = parse_settings(about["settings"])
    settings = with_overrides(settings, dict(parse_override(text) for text in overrides))
    scenes = open_scenes(settings.scenes, split)
    known, wanted = [row["name"] for row in about["classes"]], [row.name for row in scenes.classes]
    if known != wanted:
        rule = "must have the classes that the checkpoint knows"
        raise SceneError("scenes", rule, ", ".join(wanted[:6]), "use the data set it was trained on")
    return scenes


def _evaluated(checkpoint: str, split: Literal["val", "test"], overrides: list[str]) -> dict[str, Any]:
    from intra_search.metrics.segmentation import segmentation_scores
    from intra_search.networks.checkpoint import load_network
    from intra_search.networks.placement import place
    from intra_search.store.storage import Storage
    from intra_search.training.batches import evaluation_loader
    from intra_search.training.evaluation import Background, confusion
    from intra_search.training.world import ALONE

    network, about = load_network(Storage(checkpoint), "")
    scenes = _scenes(about, split, overrides)
    loader = evaluation_loader(scenes, 8, ALONE, num_processes=0, pin=False)
    placement = place("off", use_gpu=False)
    num_classes = len(scenes.classes)
    scores, background = (
        segmentation_scores(confusion(placement.network(each), loader, num_classes, placement, ALONE))
        for each in (network, Background(num_classes))
    )
    names = [scene_class.name for scene_class in scenes.classes]
    return {
        "split": split,
        "scenes": len(scenes),
        "groups": ", ".join(sorted(set(scenes.groups))[:8]),
        "miou": scores.miou,
        "background_miou": background.miou,
        "pixel_accuracy": scores.pixel_accuracy,
        "class_iou": dict(zip(names, scores.class_iou, strict=True)),
    }


def _official_scores(checkpoint: str, split: Literal["val", "test"], overrides: list[str], out: Path) -> dict[str, Any]:
    from intra_search.deploy.benchmark import SCORERS, score_split
    from intra_search.deploy.prediction import Predictor
    from intra_search.deploy.submission import predicted

    predictor = Predictor(checkpoint)
    scenes = _scenes(predictor.about, split, overrides)
    if predictor.scenes.dataset not in SCORERS:
        rule, found = f"has a submission format for {', '.join(SCORERS)}", predictor.scenes.dataset
        raise SettingError("--out", rule, found, "use `predict` for labels of other pictures")
    scores = score_split(scenes, predictor.scenes, lambda image: predicted(predictor, image), out=out)
    return dict(scores)


def _write_sheet(checkpoint: str, split: Literal["val", "test"], overrides: list[str], path: Path) -> None:
    """Eight scenes, evenly taken: picture, labels, predictions."""
    import numpy as np

    from intra_search.deploy.prediction import Predictor
    from intra_search.networks.input import normalise
    from intra_search.report.pictures import painted, sheet
    from intra_search.scenes.writers.files import write_image

    predictor = Predictor(checkpoint)
    scenes = _scenes(predictor.about, split, overrides)
    rows = []
    for index in np.unique(np.linspace(0, len(scenes) - 1, 8).astype(int)):
        view = scenes.evaluation(int(index))
        predicted = predictor.network(normalise(view.image.unsqueeze(0))).logits.argmax(dim=1)[0]
        image = view.image.permute(1, 2, 0).numpy()
        both = [painted(image, labels.numpy().astype(np.uint8), scenes.classes) for labels in (view.labels, predicted)]
        rows.append([image, *both])
    write_image(path, sheet(rows))
