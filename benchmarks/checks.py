"""How long a check takes: `python benchmarks/checks.py` prints the median of each exercise, and the median of those.

The reference answers are checked in this process, as in a notebook whose imports are warm: one run to warm up, then
seven that count.
"""

import os
import statistics
import tempfile
import time
from pathlib import Path

from labserve import assembly, checking, coaching, manifest, places
from labserve.workspace import Workspace

RUNS = 7


def main() -> None:
    workbook = manifest.load(places.MANIFEST)
    os.environ.setdefault("LABSERVE_MODEL", "efficientnet_lite0")
    medians = {}
    with tempfile.TemporaryDirectory() as folder:
        space = Workspace(Path(folder), workbook)
        for chapter in workbook.chapters:
            assembly.work_on(space, chapter.module)
            for exercise in chapter.exercises:
                with space.storing(exercise.id, coaching.reference_answer(space, exercise)):
                    pass
            for exercise in chapter.exercises:
                timed(space, exercise)  # imports, and the model's first run
                medians[exercise.id] = statistics.median(timed(space, exercise) for _ in range(RUNS))
    for exercise_id, milliseconds in medians.items():
        print(f"{exercise_id}  {milliseconds:8.1f} ms")
    print(f"median over {len(medians)} exercises: {statistics.median(medians.values()):.1f} ms")


def timed(space: Workspace, exercise: manifest.Exercise) -> float:
    """Milliseconds of one check."""
    started = time.perf_counter()
    report = checking.run(space, exercise)
    assert report.ok, "\n".join(report.lines())
    return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    main()
