"""`predict`: labels pictures with a checkpoint's network."""

import os
from pathlib import Path
from typing import Annotated

import typer

from intra_search.cli.evaluate import CheckpointArgument
from intra_search.cli.printing import echo
from intra_search.errors import SceneError

PICTURES = (".jpg", ".jpeg", ".png")


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

    files = (
        [pictures]
        if os.path.isfile(pictures)
        else sorted(p for p in pictures.glob("*") if p.suffix.lower() in PICTURES)
    )
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
    echo(f"{len(files)} label files in {out}")


def _check_names(files: list[Path], painted: bool) -> None:
    """Raises when two pictures would be written to the same file name."""
    owners: dict[str, Path] = {}
    for file in files:
        for name in [file.stem, *([f"{file.stem}_painted"] if painted else [])]:
            other = owners.setdefault(name, file)
            if other != file:
                found = f"{name}.png, which is written for {other.name} as well"
                raise SceneError(str(file), "names must differ before the suffix", found, "rename or move one")
