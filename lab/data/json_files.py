"""Reads json files of COCO's layout into their three lists, or says in one line what the file is instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from lab.data.text_files import decode_text
from lab.errors import DataError

LISTS = ("images", "annotations", "categories")
OTHER_EXPORTS = (
    ({"shapes", "imagePath"}, "labelme's file of one image"),
    ({"_via_img_metadata"}, "a project of VIA"),
    ({"regions", "filename"}, "an export of VIA"),
    ({"image", "annotations"}, "an export of CreateML"),
    ({"image_id", "score"}, "a file of results"),
    ({"data", "annotations"}, "an export of Label Studio"),
    ({"features", "type"}, "GeoJSON"),
)
"""Other json formats, recognised by keys at the top level or of the first entry."""


def read_json(path: Path) -> Any:
    """Return the content of a json file; it may begin with a byte order mark, or be UTF-16.

    Raises:
        DataError: it is not text, or not json.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    if content[:2] in (b"\x1f\x8b", b"PK"):
        raise DataError(f"{path} is compressed, not json; unpack it")
    plain = content[:1] in b"[{ \r\n\t" and content[1:2] != b"\0"
    text: str | bytes = content if plain else decode_text(content, str(path))
    try:
        found = from_json(text)
    except ValueError as error:
        if plain:
            decode_text(content, str(path))  # another encoding says so itself
        raise DataError(f"{path} is not json ({error}); unpack or download it again") from error
    for name in _keys_twice(text):
        raise DataError(f"{path} has {name!r} twice at its top level, of which json keeps the last; join them")
    return found


def _keys_twice(text: str | bytes) -> list[str]:
    """Return which of the three lists occur twice at the top level; the file is parsed again only if one may."""
    quoted: list[Any] = [f'"{name}"' if isinstance(text, str) else f'"{name}"'.encode() for name in LISTS]
    if all(text.count(name) < 2 for name in quoted):
        return []
    keys: list[str] = []

    def remember(pairs: list[tuple[str, Any]]) -> None:
        keys[:] = [key for key, _ in pairs]  # the outermost object comes last

    json.loads(text, object_pairs_hook=remember)
    return [name for name in LISTS if keys.count(name) > 1]


def load_lists(path: Path, file: str, panoptic: bool = False) -> dict[str, list[Any]]:
    """Return the content of a json of COCO's layout.

    Args:
        path: the json.
        file: COCO's name for this kind of file, for messages.
        panoptic: whether the annotations should hold segments.

    Raises:
        DataError: it is not json, lacks one of the three lists, or holds segments where objects should be.
    """
    content = read_json(path)
    found = content if isinstance(content, dict) else {}
    missing = [name for name in LISTS if not isinstance(found.get(name), list)]
    if panoptic:
        missing = [name for name in LISTS if name in missing or not found[name]]
    if missing:
        other = [f"'{name}' is no list" for name in missing if found.get(name) not in (None, [])]
        what = "; ".join([*other, *_other_export(content)])
        raise DataError(
            f"{path} lacks {', '.join(missing)}; COCO's {file}_*.json has the lists {', '.join(LISTS)}"
            + (f"; {what}" if what else "")
        )
    if not found["categories"]:
        raise DataError(f"{path} names no categories; give at least one with 'id' and 'name'")
    segments = any(isinstance(item, dict) and "segments_info" in item for item in found["annotations"][:1])
    if segments and not panoptic:
        raise DataError(
            f"{path} is a json of panoptic segments, not of instances; take instances_*.json, or data=coco_panoptic"
        )
    if panoptic and not any(isinstance(item, dict) and "segments_info" in item for item in found["annotations"]):
        raise DataError(
            f"{path} is a json of instances, not of panoptic segments; take panoptic_*.json, or data=coco_instances"
        )
    return found


def _other_export(content: Any) -> list[str]:
    """Return which other format a json file seems to have, if it is known."""
    first = content
    if isinstance(content, list):
        first = content[0] if content else None
    elif isinstance(content, dict) and content and all(isinstance(value, dict) for value in content.values()):
        first = {**next(iter(content.values())), **content}
    keys = set(first) if isinstance(first, dict) else set()
    for wanted, what in OTHER_EXPORTS:
        if wanted <= keys:
            return [f"this looks like {what}: export it as COCO"]
    return ["its top level is a list"] if isinstance(content, list) else []
