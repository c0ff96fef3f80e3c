"""stage=predict on two ranks leaves the bytes that it leaves on one, and nothing where it ends on its way."""

from __future__ import annotations

import io
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch.distributed as dist

from lab.strategies.build import make_strategy
from lab.tasks.detection.predict import DetectionPredictor
from lab.training.parts import parts_in
from tests.dist.plain import make_trainer
from tests.distributed import run_distributed
from tests.unit.tasks.detection.finders import Files, Finds, make_photos


def predict(rank: int, ranks: int, folder: str, fail_at: int | None = None) -> str:
    """Predict on this rank; return what was printed, or the error."""
    from lab.data.datamodule import LoadPlan

    data, root = Files(4), Path(folder)
    data.plan = LoadPlan(rank=rank, world_size=ranks)
    looked: Any = DetectionPredictor(str(root / "photos"), Finds(fail_at), data)  # type: ignore[arg-type]
    said = io.StringIO()

    def trainer(callbacks: Any) -> Any:
        strategy = make_strategy({"name": "ddp"}) if ranks > 1 else None
        return make_trainer(strategy, rank, ranks, callbacks=callbacks, inference_mode=False)

    try:
        with redirect_stdout(said):
            looked.run(trainer, root / f"out-{ranks}", rank)
    except OSError as error:
        return str(error)
    return said.getvalue()


def fail_everywhere(rank: int, folder: str) -> str:
    """Fail on both ranks: image 6 is rank 1's; rank 0 fails at image 8."""
    return predict(rank, 2, folder, 6 if rank else 8)


def on_two(rank: int, folder: str) -> str:
    """Predict on two ranks."""
    return predict(rank, 2, folder)


def fail_in_turn(rank: int, folder: str) -> str:
    """Rank 0 fails first; rank 1 writes on and fails when rank 0 has left."""
    try:
        with parts_in(Path(folder) / "out", rank) as parts:
            dist.barrier()
            if rank:
                while (parts.temporary / "00000").exists():  # the job's time limit ends it
                    time.sleep(0.01)
                time.sleep(0.3)  # rank 0 removes what it will
                (parts.own / "more").write_text("more")
            raise OSError(28, f"No space left for rank {rank}")
    except OSError as error:
        return str(error)


def content(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all files."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_two_ranks_leave_what_one_leaves(tmp_path: Path) -> None:
    """13 images in batches of two a rank; two cannot be read; both ranks draw."""
    make_photos(tmp_path / "photos", 13, bad=(2, 7))
    first = run_distributed(fail_everywhere, args=(str(tmp_path),))
    assert all("No space left" in error for error in first)
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
    both = run_distributed(on_two, args=(str(tmp_path),))
    alone = predict(0, 1, str(tmp_path))
    assert both == [alone.replace("out-1", "out-2"), ""]
    assert content(tmp_path / "out-2") == content(tmp_path / "out-1")
    assert len(content(tmp_path / "out-1")) == 11 + 2


def test_each_rank_says_its_own_error(tmp_path: Path) -> None:
    """Rank 0 leaves the folder of a rank that still writes; the last one removes everything."""
    said = run_distributed(fail_in_turn, args=(str(tmp_path),))
    assert said == [f"[Errno 28] No space left for rank {rank}" for rank in range(2)]
    assert not list(tmp_path.iterdir())
