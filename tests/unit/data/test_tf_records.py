"""TFRecord files read back by a reader that shares nothing with the writer."""

from __future__ import annotations

from pathlib import Path

from lab.data.tf_records import RecordFileWriter, sequence_example
from tests.tensorflow_files import checksum, field, read_records, read_sequence_example


def test_records_are_framed_as_tensorflow_frames_them(tmp_path: Path) -> None:
    """Lengths, their checksums (bit by bit in the reader), the data, its checksum; an empty record too."""
    records = [b"", b"x", bytes(range(256)) * 5]
    with RecordFileWriter(tmp_path / "some.tfrecord") as file:
        for record in records:
            file.write(record)
    assert list(read_records(tmp_path / "some.tfrecord")) == records
    start = (tmp_path / "some.tfrecord").read_bytes()[:16]
    assert start == b"\0" * 8 + checksum(b"\0" * 8).to_bytes(4, "little") + checksum(b"").to_bytes(4, "little")


def test_sequence_examples_are_example_proto(tmp_path: Path) -> None:
    codes = [bytes([step]) * 130 for step in range(3)]  # lengths of more than seven bits
    data = sequence_example({"video_id": "déjà.wav"}, {"audio_embedding": codes})
    assert read_sequence_example(data) == ({"video_id": ["déjà.wav".encode()]}, {"audio_embedding": codes})
    empty = field(1, b"") + field(2, field(1, field(1, b"audio_embedding") + field(2, b"")))
    assert sequence_example({}, {"audio_embedding": []}) == empty
