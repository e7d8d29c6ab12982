"""Speed of the three metrics on the golden data, repeated to the size of the real test sets; asserts the counts.

python tests/bench/bench_metrics.py                      # full size: about four minutes on two cores
python tests/bench/bench_metrics.py --culane-frames 600 --apolloscape-frames 10 --llamas-images 1
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from intra_search.metrics.apolloscape import id_confusion
from intra_search.metrics.culane import LaneCounts, count_frame
from intra_search.metrics.llamas import curve_scores
from intra_search.metrics.score import score_culane
from intra_search.metrics.tally import TallyOptions, tally
from intra_search.scenes.images import read_mask
from intra_search.scenes.labels import apolloscape_labels
from intra_search.scenes.lane_files import lanes_name, write_lanes

GOLDEN = Path(__file__).parents[1] / "golden"
APOLLOSCAPE_SIZE = (3384, 1710)


@cache
def _culane_frames() -> list[tuple[list[np.ndarray], list[np.ndarray], list[int]]]:
    frames: dict[str, Any] = json.loads((GOLDEN / "culane_f1.json").read_text())["frames"]

    def lanes(lists: list[Any] | None) -> list[np.ndarray]:
        return [np.array(points, np.float64).reshape(-1, 2) for points in lists or []]

    return [(lanes(frame["gt"]), lanes(frame["pred"]), frame["official"]) for frame in frames.values()]


def count_golden_frame(index: int) -> LaneCounts:
    """Counts of the index-th golden frame, checked against the official tool's."""
    truth, predicted, official = _culane_frames()[index % len(_culane_frames())]
    counts = count_frame(truth, predicted)
    assert list(counts) == official, f"frame {index}: {counts} against {official}"
    return counts


def bench_culane(num_frames: int, processes: int) -> None:
    start = time.perf_counter()
    counts, _ = tally(count_golden_frame, LaneCounts.merged, range(num_frames), TallyOptions(processes=processes))
    seconds = time.perf_counter() - start
    whole = seconds * 34_680 / num_frames
    print(
        f"CULane, lanes in memory: {num_frames} frames in {seconds:.1f} s on {processes} processes,"
        f" {num_frames / seconds:.0f} frames/s; 34,680 frames: {whole:.0f} s of 180 s (ratio {whole / 180:.2f});"
        f" every count exact, {counts}"
    )


def bench_culane_files(num_frames: int, processes: int, scratch: Path) -> None:
    """`score culane` as a user runs it: every frame's two files are opened, read and parsed."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        truth, predictions, frame_list = (Path(folder) / name for name in ("truth", "predictions", "list.txt"))
        golden = _culane_frames()
        for index in range(num_frames):
            name = lanes_name(f"{index:05d}.jpg")
            for root, lanes in ((truth, golden[index % len(golden)][0]), (predictions, golden[index % len(golden)][1])):
                if index < len(golden):
                    write_lanes(root / name, lanes)
                else:
                    os.link(root / lanes_name(f"{index % len(golden):05d}.jpg"), root / name)
        frame_list.write_text("".join(f"{index:05d}.jpg\n" for index in range(num_frames)))
        start = time.perf_counter()
        report = score_culane(truth, predictions, frame_list, options=TallyOptions(processes=processes))
        seconds = time.perf_counter() - start
    wanted = np.sum([golden[index % len(golden)][2] for index in range(num_frames)], axis=0).tolist()
    assert list(report.total) == wanted, f"{report.total} against {wanted}"
    whole = seconds * 34_680 / num_frames
    print(
        f"CULane from files: {num_frames} frames in {seconds:.1f} s on {processes} processes;"
        f" 34,680 frames: {whole:.0f} s of 180 s (ratio {whole / 180:.2f}); totals exact, {report.total}"
    )


def bench_apolloscape(num_frames: int, scratch: Path) -> None:
    cv2.setNumThreads(1)
    draw = np.random.default_rng(0)
    ids = np.array([label.id for label in apolloscape_labels()], np.uint8)
    coarse = ids[draw.integers(0, len(ids), (2, 43, 85))]
    truth, predicted = (cv2.resize(image, APOLLOSCAPE_SIZE, interpolation=cv2.INTER_NEAREST) for image in coarse)
    seconds = _seconds(lambda: id_confusion(truth, predicted), num_frames)
    print(
        f"ApolloScape: confusion at 3384x1710, {1 / seconds:.0f} frames/s per core (ratio to 20: {0.05 / seconds:.1f})"
    )
    path = scratch / "bench_apolloscape.png"
    cv2.imwrite(str(path), truth)
    table = np.arange(256, dtype=np.uint8)
    table[254] = 0  # 254 stands for unknown values
    decoding = _seconds(lambda: read_mask(path, table, {}), num_frames)
    path.unlink()
    print(f"ApolloScape: decoding one PNG of that size, {1 / decoding:.0f} images/s per core")


def bench_llamas(num_images: int) -> None:
    names = sorted(path.name.removesuffix(".label.png") for path in (GOLDEN / "llamas").glob("*.label.png"))
    fast = slow = 0.0
    for index in range(num_images):
        name = names[index % len(names)]
        truth = np.asarray(cv2.imread(str(GOLDEN / "llamas" / f"{name}.label.png"), cv2.IMREAD_UNCHANGED)) == 3
        grey = np.asarray(cv2.imread(str(GOLDEN / "llamas" / f"{name}.json_3.png"), cv2.IMREAD_GRAYSCALE))
        fast += _seconds(partial(curve_scores, grey, truth), 5)
        start = time.perf_counter()
        plain = area_by_passes(grey, truth)
        slow += time.perf_counter() - start
        found = curve_scores(grey, truth).auc
        assert abs(found - plain) < 1e-9, f"{name}: {found} against {plain}"
    print(
        f"LLAMAS: one class of one image {fast / num_images * 1e3:.2f} ms, 101 passes {slow / num_images * 1e3:.0f} ms,"
        f" {slow / fast:.0f} times as fast (asked: 50), same numbers"
    )


def area_by_passes(grey: np.ndarray, truth: np.ndarray) -> float:
    """The official area, thresholded and counted 101 times over the image: true and false positives, misses."""
    share = grey.astype(float) / 255
    area, recall_before, precision_before = 0.0, 0.0, 1.0
    for step in range(101):
        taken = share >= (100 - step) / 100
        right = int(np.sum(taken & truth))
        wrong = int(np.sum(taken & ~truth))
        missed = int(np.sum(~taken & truth))
        recall = right / (right + missed) if right + missed else 0.0
        area += (recall - recall_before) * precision_before
        recall_before, precision_before = recall, right / (right + wrong) if right + wrong else 0.0
    return area


def _seconds(work: Callable[[], object], times: int) -> float:
    work()
    start = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - start) / times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--culane-frames", type=int, default=34_680)
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--apolloscape-frames", type=int, default=100)
    parser.add_argument("--llamas-images", type=int, default=5)
    parser.add_argument("--scratch", type=Path, default=Path.cwd(), help="where files to be read are written")
    options = parser.parse_args()
    bench_culane(options.culane_frames, options.processes)
    bench_culane_files(options.culane_frames, options.processes, options.scratch)
    bench_apolloscape(options.apolloscape_frames, options.scratch)
    bench_llamas(options.llamas_images)


if __name__ == "__main__":
    main()
