"""Hostile tables: each is read rightly, counted or refused in one line; none is read wrongly in silence."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow
import pytest
from pyarrow import parquet

from lab.errors import LabError
from lab.tasks.recommendation.data.events import Columns, Events, read_events

T = 1396310400
HEADER = "session,item,time\n"
ROWS = [("a", "x", T), ("a", "y", T + 1), ("b", "007", T + 2), ("b", "7", T + 3)]
BODY = "".join(f"{session},{item},{when}\n" for session, item, when in ROWS)
PLAIN = HEADER + BODY
CJK = PLAIN.replace("x", "苹果").replace("y", "数据")
CJK_ROWS = [(session, {"x": "苹果", "y": "数据"}.get(item, item), when) for session, item, when in ROWS]


def read(folder: Path, content: str | bytes, name: str = "events.csv", **options: Any) -> Events:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_events(path, Columns(**{"session": "session", "item": "item", "time": "time"} | options))


def rows(events: Events) -> list[tuple[str, str, float]]:
    found = zip(events.sessions, events.items, events.times, strict=True)
    return [(events.session_names[session], events.item_names[item], float(when)) for session, item, when in found]


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, PLAIN)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "options", "expected", "noted"),
    [
        pytest.param(b"\xef\xbb\xbf" + CJK.encode(), {}, CJK_ROWS, {}, id="utf-8 with a mark"),
        pytest.param(CJK.encode("utf-16"), {}, CJK_ROWS, {}, id="utf-16"),
        pytest.param(b"\xfe\xff" + CJK.encode("utf-16-be"), {}, CJK_ROWS, {}, id="utf-16, big end first"),
        pytest.param(PLAIN.encode("utf-16-le"), {}, ROWS, {}, id="utf-16 without a mark"),
        pytest.param(PLAIN.encode("utf-16-be"), {}, ROWS, {}, id="utf-16-be without a mark"),
        pytest.param(CJK.encode("utf-32"), {}, CJK_ROWS, {}, id="utf-32"),
        pytest.param(CJK.encode("gbk"), {"encoding": "gb18030"}, CJK_ROWS, {}, id="gbk, named"),
        pytest.param(
            PLAIN.replace(",", "|").replace("x", "ポ").encode("shift_jis"),  # whose second byte is a |
            {"encoding": "shift_jis", "separator": "|"},
            [("a", "ポ", T), *ROWS[1:]],
            {},
            id="shift_jis, named",
        ),
        pytest.param(PLAIN.replace("\n", ",\n"), {}, ROWS, {}, id="separators at the end of all lines"),
        pytest.param(
            HEADER + BODY.replace("\n", ",\n"), {}, ROWS, {"with a separator at the end": 4}, id="of all rows"
        ),
        pytest.param(HEADER.replace("\n", ",\n") + BODY, {}, ROWS, {}, id="of the header"),
        pytest.param(PLAIN.replace("\n", "\r\n"), {}, ROWS, {}, id="CRLF"),
        pytest.param(PLAIN.replace("\n", "\r"), {}, ROWS, {}, id="CR"),
        pytest.param(HEADER + BODY.replace("\n", "\r\n", 2), {}, ROWS, {}, id="mixed line ends"),
        pytest.param(PLAIN.strip(), {}, ROWS, {}, id="no line end at the end"),
        pytest.param("\n\n  \n" + PLAIN.replace("\n", "\n\n"), {}, ROWS, {}, id="empty lines"),
        pytest.param('"session","item","time"\n' + BODY, {}, ROWS, {}, id="quotes in the header alone"),
        pytest.param(" session , item , time\n" + BODY, {}, ROWS, {}, id="blanks in the header"),
        pytest.param(
            BODY,
            {"names": ["session", "item", "time"]},
            ROWS,
            {},
            id="no header",
        ),
        pytest.param(
            PLAIN,
            {"names": ["session", "item", "time"]},
            ROWS,
            {"header line that repeats the given names, not taken as a row": 1},
            id="names and a header",
        ),
        pytest.param(
            "session,item,time,n,n\n" + BODY.replace("\n", ",q,r\n"), {}, ROWS, {}, id="two other columns of one name"
        ),
        pytest.param(
            HEADER + 'a,"x, y",1396310400\na,5" nail,1396310401\na,"q""r",1396310402\n',
            {},
            [("a", "x, y", T), ("a", '5" nail', T + 1), ("a", 'q"r', T + 2)],
            {},
            id="quote signs",
        ),
        pytest.param(
            HEADER + 'a,"x,1396310400\n', {"quotes": False}, [("a", '"x', T)], {}, id="quote signs as any other"
        ),
        pytest.param(
            HEADER[:-1] + ',text\na,x,1396310400,"two\nlines"\na,y,1396310401,z\n',
            {},
            ROWS[:2],
            {"line ends within quotes": 1},
            id="line ends in quotes of another column",
        ),
        pytest.param(
            HEADER + "a , x,1396310400\n a,\u00a0x ,1396310401\na,x y,1396310402\n",
            {},
            [("a", "x", T), ("a", "x", T + 1), ("a", "x y", T + 2)],
            {f"with blanks around the {key}, taken without them": 2 for key in ("session", "item")},
            id="blanks around ids",
        ),
        pytest.param(
            HEADER + "a,1.0,1396310400\na,1,1396310401\n",
            {},
            [("a", "1.0", T), ("a", "1", T + 1)],
            {"whose item is like 1.0 where 1 is another one": 1},
            id="ids as floats beside whole ones",
        ),
        pytest.param(gzip.compress(PLAIN.encode()), {}, ROWS, {}, id="gzip"),
        pytest.param(gzip.compress(CJK.encode("utf-16")), {}, CJK_ROWS, {}, id="gzip of utf-16"),
        pytest.param(bz2.compress(PLAIN.encode()), {}, ROWS, {}, id="bzip2"),
        pytest.param(lzma.compress(PLAIN.encode()), {}, ROWS, {}, id="xz"),
        pytest.param(zipped("a.csv", "__MACOSX/a.csv"), {}, ROWS, {}, id="zip"),
        pytest.param("PAR1," + HEADER + "".join(f"q,{line}\n" for line in BODY.split()), {}, ROWS, {}, id="PAR1"),
        pytest.param(
            HEADER.replace(",", "||") + '"a||b"||x||1396310400\n',
            {"separator": "||"},
            [("a||b", "x", T)],
            {},
            id="in quotes",
        ),
        pytest.param("session::item::time\na:::x::1396310400\n", {"separator": "::"}, [("a", ":x", T)], {}, id=":::"),
        pytest.param(
            "session||item||time\na||x\x1fy||1396310400\n",
            {"separator": "||"},
            [("a", "x\x1fy", T)],
            {},
            id="a control sign in an id",
        ),
        pytest.param(
            ",".join(["session", "item", "time", *(f"c{n}" for n in range(3000))]) + f"\na,x,{T}" + ",0" * 3000 + "\n",
            {},
            ROWS[:1],
            {},
            id="3003 columns",
        ),
    ],
)
def test_is_read_rightly(
    tmp_path: Path, content: str | bytes, options: dict[str, Any], expected: list[Any], noted: dict[str, int]
) -> None:
    events = read(tmp_path, content, **options)
    assert rows(events) == expected
    assert events.noted == noted
    assert events.report()["rows"] == events.report()["used"] == len(expected)


SEPARATORS = ["||", "**", "..", "|", "::", "+", "^", "$", "[ab]", "(.)", ".*", "\\", "lab.", "；", " ", "\x1f"]


@pytest.mark.parametrize("separator", SEPARATORS)
def test_separators_stand_for_themselves(tmp_path: Path, separator: str) -> None:
    assert rows(read(tmp_path, PLAIN.replace(",", separator), separator=separator)) == ROWS


@pytest.mark.parametrize("typed", ["\t", "\\t", "\\\\t", "\\x09", "\\u0009"])
def test_a_tab_is_a_tab_however_it_is_typed(tmp_path: Path, typed: str) -> None:
    assert rows(read(tmp_path, PLAIN.replace(",", "\t"), separator=typed)) == ROWS
    assert Columns("a", "b", "c", typed) == Columns("a", "b", "c", "\t")


def test_a_run_of_blanks_is_the_one_pattern(tmp_path: Path) -> None:
    text = PLAIN.replace(",", " \t  ").replace("\n", "  \n  ")
    assert rows(read(tmp_path, text, separator="\\s+")) == ROWS


@pytest.mark.parametrize(
    ("content", "left_out"),
    [
        (PLAIN + "c,z\n", {"with fewer than 3 columns": 1}),
        (PLAIN + "c,z,5,6\n", {"with more than 3 columns": 1}),
        (HEADER + "c,z,5,6\n" + BODY + "d\n", {"with fewer than 3 columns": 1, "with more than 3 columns": 1}),
        (PLAIN + ",z,5\n , ,5\n", {"without an id": 2}),
        (PLAIN + "NULL,x,5\na,nan,6\nNA,x,7\n", {"whose session reads NA or NULL": 2, "whose item reads nan": 1}),
        (PLAIN + "a,x,\na,x,soon\na,x,inf\n", {"with a time that cannot be read": 3}),
        (HEADER + BODY.replace("b,007", f"{HEADER}b,007"), {"that repeat the header": 1}),
    ],
)
def test_is_counted(tmp_path: Path, content: str, left_out: dict[str, int]) -> None:
    events = read(tmp_path, content)
    assert rows(events) == ROWS
    assert events.report()["left_out"] == left_out
    assert events.report()["rows"] - sum(left_out.values()) == events.report()["used"] == 4


@pytest.mark.parametrize(
    ("content", "options", "line"),
    [
        (CJK.encode("gbk"), {}, "line 2 is not UTF-8, .*data.encoding: gb18030"),
        (CJK.encode("gbk"), {"encoding": "shift_jis"}, "line 2 is not data.encoding=shift_jis"),
        (PLAIN.replace("x", "ポ").encode("shift_jis"), {}, "line 2 is not UTF-8"),
        (PLAIN, {"encoding": "klingon"}, "data.encoding='klingon' is no encoding"),
        (PLAIN, {"encoding": "rot13"}, "data.encoding='rot13' is no encoding"),
        (HEADER + BODY.replace("\n", ",9\n"), {}, r"its header names 3 columns, 4 of its 4 rows .*\(row 1 has 4\)"),
        ("item,time\n" + BODY, {"session": "item"}, "its header names 2 columns, 4 of its 4 rows"),
        (BODY, {"names": ["session", "item"], "time": None}, "data.column_names names 2 columns, 4 of its 4 rows"),
        (BODY, {"names": ["session", "item", "time", "more"]}, "data.column_names names 4 columns, 4 of its 4"),
        ("session,item,rating,time\na,x,4,5,1396310400\n", {}, "its header names 4 columns, 1 of its 1 rows"),
        ("session,item,time,item\n" + BODY.replace("\n", ",q\n"), {}, "2 of its columns are named 'item'"),
        (PLAIN.replace(",", "\t"), {}, r"separated by '\\t': set data.separator='\\t'"),
        (PLAIN.replace(",", ";"), {}, "separated by ';': set data.separator=';'"),
        (HEADER + 'a,"x,1396310400\n' + BODY, {}, "a quote sign is not closed .*data.quotes=false"),
        (HEADER + 'a,"x,1\nb,y,2\nc,z",3\n', {}, "the item of row 1 holds line ends .*data.quotes=false"),
        (HEADER + 'a,"x,1\nb,"y,2\n', {}, "data.quotes=false"),
        (HEADER + 'a,"x"z,1396310400\n', {}, "line 2: .*data.quotes=false"),
        ("", {}, "is empty"),
        (b"\xef\xbb\xbf", {}, "is empty"),
        (b"\xff\xfe", {}, "is empty"),
        ("  \n \r\n", {}, "is empty"),
        (HEADER, {}, "holds a header and no rows"),
        (HEADER.strip(), {}, "holds a header and no rows"),
        (b"\0" * 99, {}, "is no text"),
        (np.random.default_rng(0).bytes(5000), {}, "line 1 is not UTF-8"),
        (gzip.compress(PLAIN.encode() * 99)[:-9], {}, "cannot be read: Compressed file ended"),
        (b"\x1f\x8b\x08" + b"x" * 50, {}, "cannot be read"),
        (lzma.compress(PLAIN.encode())[:-9], {}, "cannot be read"),
        (zipped("a.csv", "b.csv"), {}, "a zip archive of 2 files"),
        (zipped("xl/workbook.xml", "more.xml"), {}, "an Excel workbook"),
        (zipped("a.csv")[:-30], {}, "cannot be unpacked"),
        (b"\x28\xb5\x2f\xfd" + b"x" * 50, {}, "packed by zstd"),
        (b"\x80\x04\x95abc", {}, "a pickle, which is never opened"),
        (b"SQLite format 3\0" + b"\0" * 99, {}, "an SQLite database"),
        ("<!DOCTYPE html>\n<html></html>\n", {}, "no column 'session'.*it has <!DOCTYPE html>"),
        ("\x1b[31mred,item,time\n", {}, r"it has '\\x1b\[31mred'"),
        (PLAIN, {"names": "session"}, "data.column_names='session': a list of names"),
        (PLAIN, {"names": []}, r"data.column_names=\[\]: a list of names"),
        (PLAIN, {"separator": "t"}, "data.separator='t' occurs in names"),
        (PLAIN, {"separator": ""}, "data.separator='' is empty"),
        (PLAIN, {"separator": '"'}, "quotes values"),
        (PLAIN, {"time_format": "second"}, "did you mean 'seconds'"),
        (PLAIN, {"time_format": "%Q"}, "data.time_format='%Q'"),
        (PLAIN, {"time_format": "iso"}, r"4 with a time that cannot be read \(such as '1396310400'"),
    ],
)
def test_is_refused_in_one_line(tmp_path: Path, content: str | bytes, options: dict[str, Any], line: str) -> None:
    with pytest.raises(LabError, match=line) as caught:
        read(tmp_path, content, **options)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


@pytest.mark.parametrize("stated", ["seconds", "milliseconds", "microseconds", "nanoseconds"])
@pytest.mark.parametrize("unit", ["seconds", "milliseconds", "microseconds", "nanoseconds"])
def test_another_unit_than_stated_is_named(tmp_path: Path, stated: str, unit: str) -> None:
    scale = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}[unit]
    text = HEADER + "".join(f"{user},x,{(T + user * 86400) * scale}\n" for user in range(30))
    text += f"0,y,{0 if scale < 10**6 else T * scale}\n"  # an unknown time hides nothing
    if stated == unit:
        assert read(tmp_path, text, time_format=stated).times.max() == pytest.approx(T + 29 * 86400)
    else:
        with pytest.raises(
            LabError, match=f"time_format={stated} .*as {unit} they are .* to 2014-04-30: set data.time_format={unit}"
        ):
            read(tmp_path, text, time_format=stated)


@pytest.mark.parametrize("scale", [1, 1e3, 1e6])
def test_times_that_count_from_a_start_are_noted_and_taken(tmp_path: Path, scale: float) -> None:
    stated = {1: "seconds", 1e3: "milliseconds", 1e6: "microseconds"}[scale]
    text = HEADER + "".join(f"a,x,{int(second * scale)}\n" for second in range(0, 20 * 86400, 7200))
    events = read(tmp_path, text, time_format=stated)
    assert list(events.noted.values()) == [240]
    assert events.times.tolist() == list(range(0, 20 * 86400, 7200))


def test_years_of_any_size_are_kept_and_noted(tmp_path: Path) -> None:
    text = HEADER + "a,x,0001-01-01\na,y,9999-12-31T23:59:59Z\na,z,2014-04-07T10:51:09.277123456Z\n"
    events = read(tmp_path, text, time_format="iso")
    # datetime(1, 1, 1).timestamp() and datetime(9999, 12, 31, 23, 59, 59).timestamp() in UTC
    assert sorted(events.times) == [-62135596800.0, pytest.approx(1396867869.277123456), 253402300799.0]
    assert [key[:21] for key in events.noted] == ["with a time after 210", "with a time before 19"]
    pattern = read(tmp_path, HEADER + "a,x,01.01.0001\na,y,31.12.9999\n", time_format="%d.%m.%Y")
    assert pattern.times.tolist() == [-62135596800.0, 253402214400.0]
    offsets = read(tmp_path, HEADER + "a,x,2014-04-07T10:51:09+02:00\na,y,2014-04-07 08:51:10\n", time_format="iso")
    assert offsets.times.tolist() == [1396860669.0, 1396860670.0]
    late = read(tmp_path, HEADER + "a,x,10000-01-01\na,y,2014-01-01\n", time_format="iso")
    assert late.report()["left_out"] == {"with a time that cannot be read": 1}
    huge = read(tmp_path, HEADER + f"a,x,1e300\na,y,{T}\nb,y,{T}\n")
    assert list(huge.noted) == ["with a time after 2100, up to the year 3.17e+292: is the unit right?"]


def stored(frame: Any) -> bytes:
    buffer = io.BytesIO()
    table = frame if isinstance(frame, pyarrow.Table) else pyarrow.Table.from_pandas(frame)
    parquet.write_table(table, buffer)
    return buffer.getvalue()


FRAME = pandas.DataFrame(ROWS, columns=["session", "item", "time"])


@pytest.mark.parametrize(
    "frame",
    [
        FRAME.assign(embedding=[[0.1, 0.2]] * 4, other=[{"a": 1}] * 4),
        FRAME.assign(item=FRAME.item.astype("category")),
        FRAME.assign(time=pandas.to_datetime(FRAME.time, unit="s")),
        FRAME.assign(time=pandas.to_datetime(FRAME.time, unit="s", utc=True)),
        FRAME.assign(time=FRAME.time.astype(float)),
        FRAME.assign(time=FRAME.time.astype(str)),
    ],
)
def test_parquet_is_read_by_the_named_columns(tmp_path: Path, frame: Any) -> None:
    assert rows(read(tmp_path, stored(frame), "events.parquet")) == ROWS
    assert rows(read(tmp_path, stored(frame), "events.csv")) == ROWS  # what it is follows from what it holds


def test_ids_of_parquet(tmp_path: Path) -> None:
    floats = read(tmp_path, stored(FRAME.assign(item=[1.0, 214536502.0, None, 3.0])), "events.parquet")
    assert sorted(floats.item_names) == ["1", "214536502", "3"]
    assert floats.report()["left_out"] == {"without an id": 1}
    assert floats.noted == {"with the item stored as a float, read as a whole number": 3}
    whole = pandas.array([7, None, 8, 9], dtype="Int64")
    assert sorted(read(tmp_path, stored(FRAME.assign(item=whole)), "events.parquet").item_names) == ["7", "8", "9"]
    assert sorted(read(tmp_path, stored(FRAME.assign(item=[1.5, 2.0, 3.0, 4.0])), "e.parquet").item_names)[0] == "1.5"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (stored(FRAME.assign(item=[["x"]] * 4)), "column 'item' holds list<.*, not one item a row"),
        (stored(FRAME.assign(time=pandas.to_timedelta(FRAME.time, unit="s"))), "column 'time' holds duration"),
        (stored(FRAME[:0]), "holds no rows"),
        (stored(FRAME.drop(columns="item")), "no column 'item'"),
        (stored(FRAME)[:-20], "cannot be read as Parquet"),
        (stored(FRAME.assign(time=FRAME.time * 1000)), "set data.time_format=milliseconds"),
        (PLAIN.encode(), "cannot be read as Parquet"),
        (
            stored(pyarrow.Table.from_arrays([["a"], ["x"], ["y"], [T]], names=["session", "item", "item", "time"])),
            "2 of its columns are named 'item'",
        ),
    ],
)
def test_parquet_is_refused_in_one_line(tmp_path: Path, content: bytes, line: str) -> None:
    with pytest.raises(LabError, match=line) as caught:
        read(tmp_path, content, "events.parquet")
    assert "\n" not in str(caught.value)


def test_a_million_columns_take_seconds(tmp_path: Path) -> None:
    names = ",".join(["session", "item", "time", *map(str, range(1_000_000))])
    lines = "".join(f"a,{item},{T}" + "," * 1_000_000 + "\n" for item in "xy")
    start = time.monotonic()
    assert len(read(tmp_path, f"{names}\n{lines}")) == 2
    with pytest.raises(LabError, match=r"no column 'sesion'.* and 999991 more") as caught:
        read(tmp_path, f"{names}\n{lines}", session="sesion")
    assert len(str(caught.value)) < 400 + len(str(tmp_path))
    assert time.monotonic() - start < 60


def test_an_edited_file_of_the_same_name_size_and_time_is_read_anew(tmp_path: Path) -> None:
    import os

    path = tmp_path / "events.csv"
    for item in ("x", "y"):
        path.write_text(f"{HEADER}a,{item},{T}\n")
        os.utime(path, (T, T))
        assert rows(read_events(path, Columns("session", "item", "time"))) == [("a", item, T)]


@pytest.mark.parametrize("separator", [",", "||", "\t"])
@pytest.mark.parametrize("quote", [False, True])
def test_both_readers_agree_across_blocks(tmp_path: Path, separator: str, quote: bool, monkeypatch: Any) -> None:
    """Arrow's reading and the careful one, on files of many small blocks, against the rows that were written."""
    from lab.data.tables import opening, text

    monkeypatch.setattr(opening, "BLOCK", 37)
    draw = np.random.default_rng(5)
    written = [(f"s{number // 5}", f"ü{draw.integers(50)}", float(T + number)) for number in range(400)]
    around = '"{}"' if quote else "{}"
    lines = [separator.join((around.format(who), around.format(what), str(int(when)))) for who, what, when in written]
    content = "\n".join([separator.join(("session", "item", "time")), *lines]) + "\n"
    assert rows(read(tmp_path, content, separator=separator)) == written
    monkeypatch.setattr(text._TextTable, "_read_clean", lambda *arguments: None)
    assert rows(read(tmp_path, content, separator=separator)) == written


def test_a_file_that_is_still_written_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    from lab.data.tables.records import TextRecords

    path = tmp_path / "events.csv"
    header = TextRecords.header

    def grow(table: Any) -> Any:
        with path.open("a") as file:
            file.write("c,z,1396310400\n")
        return header(table)

    monkeypatch.setattr(TextRecords, "header", grow)
    with pytest.raises(LabError, match="changed while it was read"):
        read(tmp_path, PLAIN)


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="a folder, no file"):
        read_events(tmp_path, Columns("session", "item", "time"))


def test_ids_that_only_look_alike_are_noted(tmp_path: Path) -> None:
    composed, apart = "caf\u00e9", "cafe\u0301"
    events = read(tmp_path, f"{HEADER}a,{composed},{T}\na,{apart},{T + 1}\na,b,{T + 2}\n")
    assert rows(events) == [("a", composed, T), ("a", apart, T + 1), ("a", "b", T + 2)]
    assert events.noted == {"ids of items that look like another one, their accents written otherwise": 1}


def test_one_time_for_all_is_noted(tmp_path: Path) -> None:
    events = read(tmp_path, HEADER + f"a,z,{T}\na,x,{T}\nb,y,{T}\n")
    assert rows(events) == [("a", "z", T), ("a", "x", T), ("b", "y", T)]
    assert events.noted == {"all with one and the same time: the order of the lines decides": 3}


@pytest.mark.parametrize("content", ["x" * 5000, HEADER + "y" * 5000, HEADER + f'a,"x",{T}\n"' + "y" * 5000])
def test_a_line_without_an_end_is_no_table(tmp_path: Path, monkeypatch: Any, content: str) -> None:
    from lab.data.tables import opening, quoting, records

    monkeypatch.setattr(opening, "BLOCK", 64)
    for module in (records, quoting):
        monkeypatch.setattr(module, "LONGEST_LINE", 1000)
    with pytest.raises(LabError, match="has more than 1000 signs: is it a table"):
        read(tmp_path, content)


@pytest.mark.parametrize("content", [stored(FRAME), gzip.compress(PLAIN.encode())], ids=["parquet", "gzip"])
def test_what_does_not_fit_into_memory_is_refused_before_it_is_taken(
    tmp_path: Path, monkeypatch: Any, content: bytes
) -> None:
    from lab.data import memory

    monkeypatch.setattr(memory, "MEMORY", tmp_path / "meminfo")
    assert rows(read(tmp_path, content)) == ROWS  # nothing is known of this system
    (tmp_path / "meminfo").write_text("MemTotal:  8 kB\nMemAvailable:       0 kB\n")
    with pytest.raises(LabError, match=r"(4 rows|\d+ bytes of text) take .* GiB at least"):
        read(tmp_path, content)


def test_files_that_were_put_one_after_the_other_make_no_user_of_a_header(tmp_path: Path) -> None:
    """Without a time nothing else tells a header from an event."""
    events = read(tmp_path, "session,item\na,x\nsession,item\na,y\n", time=None)
    assert rows(events) == [("a", "x", 0.0), ("a", "y", 2.0)]
    assert events.report()["left_out"] == {"that repeat the header": 1}
