"""Does the demo's pick beat its plain twin? The whole demo with five seeds.

python tests/evidence/demo_seeds.py [--seeds 5] [--studies studies/demo_seeds] [--report]

A seed draws other scenes, other initial weights and another search. A finished study is not run again, and one that was
interrupted goes on; `--report` prints the table from what is there. Each study is `search_spaces/quickstart.toml` in
float32, as on a machine without bfloat16 units.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "intra_search.cli"]
FLOAT32 = ["--set", "training.amp=off", "--set", "teacher.training.amp=off"]
SECONDS = "demo_seconds.txt"


def run(study: Path, seed: int) -> None:
    started = time.monotonic()
    file = ROOT / "search_spaces/quickstart.toml"
    subprocess.run([*COMMAND, "run", file, "--study", study, "--set", f"seed={seed}", *FLOAT32], check=True)
    if not (study / SECONDS).exists():
        (study / SECONDS).write_text(f"{time.monotonic() - started:.0f}")


def answer(verb: str, study: Path) -> Any:
    return json.loads(subprocess.run([*COMMAND, verb, study, "--json"], check=True, capture_output=True).stdout)


def row(study: Path, seed: int) -> tuple[str, float | None]:
    """A line of the table, and the pick's lead over its plain twin."""
    best, trials = answer("best", study), answer("trials", study)
    plain = [trial["objectives"]["val/miou"] for trial in trials if not trial["point"]["distill.enabled"]]
    score, twin = best["objectives"]["val/miou"], best["twin"]
    lead = None if twin is None else twin["gain"]
    settings = best["settings"]
    recipe = settings.get("distill.preset", "plain")
    cells = [
        str(seed),
        {"none": "searched terms"}.get(recipe, recipe),
        f"{settings['student.resnet18.width']:g}",
        f"{score:.4f}",
        "" if lead is None else f"{score - lead:.4f}",
        "" if lead is None else f"{lead:+.4f}",
        f"{max(plain):.4f}" if plain else "",
        (study / SECONDS).read_text() if (study / SECONDS).exists() else "",
    ]
    return f"| {' | '.join(cells)} |", lead


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--studies", type=Path, default=Path("studies/demo_seeds"))
    parser.add_argument("--report", action="store_true", help="run nothing, print the table")
    options = parser.parse_args()
    studies = {seed: options.studies / f"seed-{seed}" for seed in range(options.seeds)}
    if not options.report:
        for seed, study in studies.items():
            run(study, seed)
    rows = [row(study, seed) for seed, study in studies.items() if study.exists()]
    print("| seed | pick | width | val/miou | its plain twin | lead | best plain trial | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    print("\n".join(line for line, _ in rows))
    print(
        f"\nThe pick is a distilled student and beats its plain twin in {sum((lead or 0) > 0 for _, lead in rows)} of "
        f"{len(rows)}."
    )


if __name__ == "__main__":
    main()
