"""From nuScenes' tables to a submission: fit, then predict frames without annotations, as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import lab
from tests.unit.tasks.detection3d.data.nuscenes import worlds

WORDS = (
    "model=detr3d_tiny",
    "model.net.num_queries=20",
    "model.net.embed_dim=16",
    "model.net.feedforward_dim=16",
    "data=nuscenes",
    "data.train=v1.0-mini/mini_train",
    "data.val=v1.0-mini/mini_val",
    "data.image_size=[45,80]",
    "data.batch_size=2",
    "data.num_workers=0",
    "trainer=cpu",
    "trainer.max_steps=2",
    "trainer.val_every_n_steps=2",
    "logger=csv",
    "callbacks.progress=false",
)


def test_from_tables_to_a_submission(tmp_path: Path) -> None:
    world = worlds.make_world()
    worlds.write_tables(world, tmp_path / "data")
    worlds.write_pictures(world, tmp_path / "data")
    (tmp_path / "data" / world.tables["sample_data"][2]["filename"]).unlink()
    run = lab.fit(*WORDS, f"data.root={tmp_path / 'data'}", f"paths.runs_dir={tmp_path / 'runs'}")
    train = next(report for name, report in run.record["rows_read"].items() if name.endswith("mini_train"))
    assert train == {"rows": 3, "used": 2, "left_out": {"frames without the picture of CAM_FRONT": 1}}
    assert 0 <= run.record["result"]["test/nds"] <= 1
    for info in world.new:
        del info["instances"]
    infos = worlds.write(worlds.new_infos(world), tmp_path / "data" / "infos.json")
    written = lab.predict(run, infos)
    submission = json.loads((written / "submission.json").read_text())
    assert list(submission["results"]) == [info["token"] for info in world.new[1:]]
    assert all(box["sample_token"] == token for token, boxes in submission["results"].items() for box in boxes)
