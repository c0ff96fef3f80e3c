"""Measure how many pictures several processes render in a second, and what a street scene costs a processor.

    OMP_NUM_THREADS=1 python scripts/measure_rendering.py --processes 2

The first line has the scene of ``scripts/benchmark.py --rows render-scene`` (30 objects, 45,000 triangles, 256 x 256,
another scene for every picture) in wall-clock time; start and first picture of a process do not count. The others have
frames of ``data=scenes3d``: six pictures of 96 x 160, in processor time of one process.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from multiprocessing.synchronize import Barrier


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--pictures", type=int, default=200, help="of each process")
    parser.add_argument("--frames", type=int, default=100, help="of streets")
    given = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(given.processes + 1)
    workers = [context.Process(target=_render, args=(given.pictures, barrier)) for _ in range(given.processes)]
    for worker in workers:
        worker.start()
    barrier.wait()
    start = time.perf_counter()
    barrier.wait()
    seconds = time.perf_counter() - start
    for worker in workers:
        worker.join()
    print(f"{given.processes} processes: {given.processes * given.pictures / seconds:.1f} pictures a second")
    for samples in (1, 2):
        first, later, layout = _street(samples, given.frames)
        print(
            f"street, samples={samples}: {later:.1f} ms of processor time a frame, {layout:.1f} of them for the "
            f"layout; meshes built by the first {given.frames} frames: {(first - later) * given.frames / 1000:.1f} s"
        )
    return 0


def _render(pictures: int, barrier: Barrier) -> None:
    from benchmarks.rendering import scene_step

    ours = scene_step(30, (256, 256))
    ours()
    barrier.wait()
    for _ in range(pictures):
        ours()
    barrier.wait()


def _street(samples: int, frames: int) -> tuple[float, float, float]:
    """Return the milliseconds of a frame while meshes are built, of one later, and of its layout."""
    from lab.data.scenes3d.catalogue import variant
    from lab.tasks.detection3d.data.scenes3d import Scenes3dDataModule

    variant.cache_clear()
    dataset = Scenes3dDataModule(samples=samples).build("train")
    found = []
    for epoch, made in enumerate((dataset.__getitem__, dataset.__getitem__, dataset.scenes.layout)):
        start = time.process_time()
        for index in range(frames):
            made((epoch, index))
        found.append(1000 * (time.process_time() - start) / frames)
    return found[0], found[1], found[2]


if __name__ == "__main__":
    raise SystemExit(main())
