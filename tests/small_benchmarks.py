"""The three benchmarks drawn small: sizes of their frames, and the objective that is each one's own metric."""

SIZES = {"apolloscape": (96, 192), "culane": (118, 328), "llamas": (717, 1276)}
"""(height, width); LLAMAS projects its markers to frames of one size only."""
METRICS = {"apolloscape": "val/official_miou", "culane": "val/f1", "llamas": "val/mean_ap"}
