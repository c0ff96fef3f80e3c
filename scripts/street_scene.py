"""Draw one generated street scene and write it as a GLB.

    python scripts/street_scene.py 3 --out scene

It writes ``cameras.png`` (what the six cameras see, with the 3-D boxes), ``masks.png`` (classes of pixels and visible
boxes), ``above.png`` (the 3-D boxes from above), ``scene.glb`` (all meshes; any viewer of glTF opens it) and
``loaded.png``: the GLB read back and rendered from above the street.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

    from lab.geometry.render.scene import Scene
    from lab.tasks.detection3d.data.scenes3d import Scenes3dDataModule

COLOURS = 160
"""Of the palette of the pictures, so that their files are small."""
_ORDER = (2, 0, 1, 4, 3, 5)  # front left, front, front right, back left, back, back right
_STUFF = ((200, 220, 240), (90, 90, 95), (150, 145, 140), (120, 95, 80), (60, 95, 50), (40, 40, 40))  # as STUFF_NAMES
_EYE, _TARGET = (-26.0, 2.0, 18.0), (2.0, 0.0, 0.0)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("index", type=int, help="number of the scene")
    parser.add_argument("--split", choices=("val", "test"), default="test")
    parser.add_argument("--out", type=Path, default=Path("scene"), help="folder of the files (default: scene)")
    parser.add_argument("--width", type=int, default=400, help="of each camera's picture (default: 400)")
    parser.add_argument("--range", type=float, default=20.0, help="metres around the rig (default: 20)")
    given = parser.parse_args(arguments)

    from lab.errors import LabError

    try:
        for path in draw(given.index, given.split, given.out, given.width, given.range):
            print(f"{path}  {path.stat().st_size / 1000:.0f} kB")
    except (LabError, OSError, IndexError) as error:
        print(f"street_scene: {error}", file=sys.stderr)
        return 2
    return 0


def draw(index: int, split: str, out: Path, width: int, reach: float) -> list[Path]:
    """Write the files of a scene and return their paths."""
    from lab.data.scenes3d.frames import scene_of
    from lab.geometry.files import write_scene
    from lab.tasks.detection3d.data.scenes3d import Scenes3dDataModule

    ends = [-reach, -reach, -3.0, reach, reach, 1.0]
    data = Scenes3dDataModule(image_size=(round(0.6 * width), width), samples=3, point_range=ends)
    out.mkdir(parents=True, exist_ok=True)
    cameras, above = pictures(data, split, index)
    scene = scene_of(data.scenes(split).layout((0, index)), len(data.names))
    write_scene(scene.instances, out / "scene.glb")
    masks = draw_masks(data, split, index)
    saved = {
        "cameras.png": cameras,
        "masks.png": masks,
        "above.png": above,
        "loaded.png": loaded(out / "scene.glb", scene, width),
    }
    for name, picture in saved.items():
        picture.quantize(COLOURS).save(out / name, optimize=True)
    return [out / name for name in (*saved, "scene.glb")]


def pictures(data: Scenes3dDataModule, split: str, index: int) -> tuple[Image.Image, Image.Image]:
    """Return what the cameras see, with boxes, and the boxes from above."""
    import numpy as np

    from lab.tasks.detection3d.pictures import DrawnBoxes, draw_cameras, draw_from_above, truth_of

    batch = data.collate([data.dataset(split)[0, index]])
    truth = truth_of(batch)
    nothing = DrawnBoxes(np.zeros((0, 9)), np.zeros(0, np.int64))
    assert truth is not None
    above = draw_from_above(batch.rig_to_ego[0].numpy(), truth, nothing, data.spec, 600)
    return draw_cameras(batch, truth, data.spec, f"scene {index} of {split}"), above


def draw_masks(data: Scenes3dDataModule, split: str, index: int) -> Image.Image:
    """Return the classes of all pixels, and the boxes around what is visible, in the order of ``cameras.png``."""
    import numpy as np
    from PIL import Image, ImageDraw

    from lab.report.canvas import class_colour

    frame, most = data.scenes(split)[0, index], data.min_pixels
    classes = len(data.names)
    palette = np.array([*map(class_colour, range(classes)), *_STUFF], np.uint8)
    height, width = frame.categories.shape[1:]
    sheet = Image.new("RGB", (3 * width, 2 * height))
    for place, camera in enumerate(_ORDER):
        picture = Image.fromarray(palette[frame.categories[camera]])
        pen = ImageDraw.Draw(picture)
        for box in frame.boxes[camera][frame.pixels[camera] >= most].tolist():
            pen.rectangle([box[0], box[1], box[2] - 1, box[3] - 1], outline=(255, 255, 255))
        sheet.paste(picture, (place % 3 * width, place // 3 * height))
    return sheet


def loaded(path: Path, scene: Scene, width: int) -> Image.Image:
    """Return a picture of a GLB that is read back, from above the street, under the light of its scene."""
    import numpy as np
    from PIL import Image

    from lab.geometry.bake import bake
    from lab.geometry.files import read_mesh
    from lab.geometry.render.camera import camera_of_view, look_at
    from lab.geometry.render.rendering import render
    from lab.geometry.render.scene import Instance, Scene

    found = read_mesh(path)
    for note in found.notes:
        print(f"{path}: {note}")
    whole = Scene((Instance(bake(found.mesh), np.eye(4)),), scene.lights)
    return Image.fromarray(
        render(whole, camera_of_view(round(1.8 * width), width, 60.0, look_at(_EYE, _TARGET)), 2).color
    )


if __name__ == "__main__":
    sys.exit(main())
