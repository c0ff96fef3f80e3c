"""``stage=predict``: writes detections as nuScenes takes them, as a table, and as pictures of the first frames."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab.errors import DataError
from lab.report.canvas import save_picture
from lab.structures.detection3d import Detection3dPredictions, MultiviewBatch
from lab.tasks.detection3d.metrics import that_count
from lab.tasks.detection3d.pictures import SHOWN_ABOVE, draw_frame
from lab.tasks.detection3d.submission import placed_batch, submission_pieces, submitted
from lab.tasks.detection3d.task import Detection3dTask
from lab.training.parts import Parts, Records, RecordWriter, parts_in
from lab.training.predictor import EachPrediction, MakeTrainer, Predictor

COLUMNS = ("frame", "class", "score", "x", "y", "z", "length", "width", "height", "yaw", "vx", "vy", "attribute")
"""Of the table: boxes in the frame of the rig, in metres, radians and m/s."""


class Detection3dPredictor(Predictor):
    """Writes ``submission.json``, ``detections.csv`` and pictures of the first ``eval.pictures`` frames.

    The input is what ``build_inputs`` of the data reads: a json file of frames, or infos of nuScenes.
    """

    task: Detection3dTask

    def run(self, make_trainer: MakeTrainer, folder: Path, rank: int) -> None:
        """Predict all frames; rank 0 puts the parts of all ranks together and prints where they are.

        Raises:
            DataError: the input cannot be read, or has no frames.
        """
        dataset = self.data.build_inputs([Path(self.source)])
        if not len(dataset):
            raise DataError(f"input={self.source}: it has no frames")
        loader = self.data.dataset_dataloader(dataset)
        with parts_in(folder, rank) as parts:
            with closing(RecordWriter(parts)) as records:
                each = EachPrediction(lambda number, found: records.write(number, self._record(number, found, parts)))
                make_trainer([each]).predict(self.task, dataloaders=loader, return_predictions=False)
            folders = parts.collect()
            if rank == 0:
                said = self._write(Records(folders), parts.merged, folder)
                parts.publish([*folders, parts.merged])
                print("\n".join(said))

    def _record(
        self, number: int, found: tuple[MultiviewBatch, Detection3dPredictions], parts: Parts
    ) -> dict[str, Any]:
        """Draw a frame, if it is one of the first, and return its detections as plain data."""
        frame, predictions = found[0], found[1].to("cpu")
        drawn = number < self.task.eval_settings["pictures"]
        frame = (frame if drawn else replace(frame, images=frame.images[:, :0])).to("cpu")
        if drawn:
            pictures = parts.own / "pictures"
            pictures.mkdir(exist_ok=True)
            save_picture(draw_frame(frame, predictions, self.task.spec), pictures / f"frame-{number:05d}.png")
        names, token = self.task.names, frame.tokens[0]
        placed, bad = placed_batch(predictions, frame, names)
        boxes = submitted(placed, token, names)
        used, _ = that_count(predictions.boxes[0].numpy(), predictions.scores[0].numpy())
        rig = predictions.boxes[0].numpy()[used].tolist()
        return {"token": token, "boxes": boxes, "rig": rig, "no_boxes": bad}

    def _write(self, records: Records, out: Path, folder: Path) -> list[str]:
        """Write the detections of all frames, and return the lines to print."""
        counts = dict.fromkeys(("frames", "detections", "no_boxes"), 0)

        def frames() -> Iterator[tuple[str, list[dict[str, Any]]]]:
            for record in records:
                counts["frames"] += 1
                counts["detections"] += len(record["boxes"])
                counts["no_boxes"] += record["no_boxes"]
                yield record["token"], record["boxes"]

        with (out / "submission.json").open("w", encoding="utf-8") as file:
            file.writelines(submission_pieces(frames()))
        with (out / "detections.csv").open("w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file, lineterminator="\n")
            lines.writerow(COLUMNS)
            for record in records:
                for box, rig in zip(record["boxes"], record["rig"], strict=True):
                    numbers = [round(value, 4) for value in (box["detection_score"], *rig)]
                    lines.writerow((record["token"], box["detection_name"], *numbers, box["attribute_name"]))
        if counts["no_boxes"]:
            print(
                f"warning: {counts['no_boxes']} detections are left out: a number is not finite, or a side not above 0",
                file=sys.stderr,
            )
        said = [
            f"{counts['frames']} frames, {counts['detections']} detections",
            f"written   {folder / 'submission.json'} (as nuScenes takes it, in the global frame)",
            f"written   {folder / 'detections.csv'} (in the frame of the rig)",
        ]
        if self.task.eval_settings["pictures"]:
            said.append(f"pictures  {folder / 'pictures'} (scores of {SHOWN_ABOVE} and above)")
        return said
