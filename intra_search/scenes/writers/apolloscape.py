"""Drawn scenes in ApolloScape's layout: palette PNGs of official ids, records of roads 02 to 04, both cameras."""

from pathlib import Path

from intra_search.scenes.labels import apolloscape_labels, file_id_table
from intra_search.scenes.writers.files import write_image, write_mask
from intra_search.scenes.writers.order import DrawOrder

SIZE = (427, 846)
"""A quarter of the size in which frames are often stored: 1710 x 3384, without the upper 1000 rows."""
_NUM_ROADS = 3


def write_scene(out: Path, order: DrawOrder, index: int) -> None:
    """Image and mask of one scene."""
    # Imported here, because other layouts do not need it.
    from intra_search.scenes.synthetic import draw_scene

    image, labels = draw_scene(order.seed, index, order.height, order.width)
    recording = order.recording(index)
    road, record, camera = 2 + recording % _NUM_ROADS, recording // _NUM_ROADS + 1, 5 + index % 2
    place = f"Record{record:03d}/Camera {camera}"
    stem = f"170927_{index:09d}_Camera_{camera}"
    write_image(out / f"ColorImage_road{road:02d}/ColorImage/{place}/{stem}.jpg", image)
    palette = {label.id: label.color for label in apolloscape_labels()}
    path = out / f"Labels_road{road:02d}/Label/{place}/{stem}_bin.png"
    write_mask(path, file_id_table()[labels], palette)


def write_tables(out: Path, order: DrawOrder) -> None:
    """Nothing to write: the layout has no lists."""
