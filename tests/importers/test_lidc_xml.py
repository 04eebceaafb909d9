"""LIDC's annotation files: what is a nodule, what is none, which file of a series counts, and files made to harm."""

import os
import re
import tracemalloc
from pathlib import Path

import pytest

from importers.lidc_phantoms import HOLE, RATINGS, Curve, Nodule, Series, make_xml
from noduleclip import schema
from noduleclip.errors import RejectCode
from noduleclip.importers import lidc_xml
from noduleclip.importers.annotations import ODD_RATINGS, OUTLINED, RejectedAnnotation
from noduleclip.importers.files import find_files
from noduleclip.importers.lidc_xml import LidcFile, parse_lidc_file, read_lidc_xml

SERIES = Series(1)
NODULE = Nodule([Curve(0), Curve(1)])


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def read_one(path: Path) -> LidcFile:
    file = parse_lidc_file(path)
    assert isinstance(file, LidcFile), file
    return file


def refuse(path: Path) -> RejectedAnnotation:
    file = parse_lidc_file(path)
    assert isinstance(file, RejectedAnnotation)
    assert str(path) in file.reason
    return file


def test_readers_are_numbered_and_curves_open(tmp_path: Path) -> None:
    file = read_one(write(tmp_path / "a.xml", make_xml(SERIES, [[NODULE], [], [NODULE]])))
    assert file.series_uid == SERIES.uid
    assert [outline.reader for outline in file.outlines] == ["1", "3"]
    first = file.outlines[0]
    assert first.name == "Nodule 001"
    assert first.ratings[schema.INTERNAL_STRUCTURE] == 1
    assert len(first.ratings) == len(RATINGS)
    assert [contour.sop_uid for contour in first.contours] == [SERIES.sop_uid(0), SERIES.sop_uid(1)]
    assert [contour.z_mm for contour in first.contours] == [-10.0, -7.5]
    assert first.contours[0].points_px.tolist() == [[4, 4], [10, 4], [10, 10], [4, 10]]
    assert file.counts[lidc_xml.READINGS] == 3


def test_points_and_non_nodules_are_counted_and_nothing_else(tmp_path: Path) -> None:
    small = Nodule([Curve(0, [(5, 5)])], ratings={})
    path = write(tmp_path / "a.xml", make_xml(SERIES, [[small, NODULE]], non_nodules=3))
    file = read_one(path)
    assert len(file.outlines) == 1
    assert file.counts[lidc_xml.SMALL_NODULES] == 1
    assert file.counts[lidc_xml.NON_NODULES] == 3


def test_inclusion_false_is_a_hole(tmp_path: Path) -> None:
    drawn = Nodule([Curve(0), Curve(0, HOLE, "FALSE")])
    (outline,) = read_one(write(tmp_path / "a.xml", make_xml(SERIES, [[drawn]]))).outlines
    assert [contour.includes for contour in outline.contours] == [True, False]


@pytest.mark.parametrize(("text", "given"), [("0", None), ("6", None), ("-1", None), ("5", 5), ("x", None), ("", None)])
def test_a_rating_off_its_scale_is_missing(tmp_path: Path, text: str, given: int | None) -> None:
    rated = Nodule([Curve(0)], ratings=RATINGS | {"malignancy": text})
    file = read_one(write(tmp_path / "a.xml", make_xml(SERIES, [[rated]])))
    assert file.outlines[0].ratings.get(schema.MALIGNANCY) == given
    assert file.counts[ODD_RATINGS] == (1 if text and given is None else 0)


def test_absent_calcification_is_six(tmp_path: Path) -> None:
    (outline,) = read_one(write(tmp_path / "a.xml", make_xml(SERIES, [[NODULE]]))).outlines
    assert outline.ratings[schema.CALCIFICATION] == 6


def test_reads_of_chest_x_rays_are_counted_apart(tmp_path: Path) -> None:
    write(tmp_path / "1.xml", make_xml(SERIES, [], root="IdriReadMessage"))
    write(tmp_path / "2.xml", make_xml(SERIES, [[NODULE]]))
    reads = read_lidc_xml(find_files(tmp_path, ".xml"))
    assert [file.path.name for file in reads.files] == ["2.xml"]
    assert (reads.counts[lidc_xml.XRAY_FILES], reads.counts[lidc_xml.CT_FILES]) == (1, 1)
    assert not reads.remarks and not reads.rejected


def test_one_file_in_two_layouts_counts_once(tmp_path: Path) -> None:
    text = make_xml(SERIES, [[NODULE]])
    write(SERIES.folder(tmp_path) / "069.xml", text)
    write(tmp_path / "tcia-lidc-xml" / "157" / "158.xml", text)
    reads = read_lidc_xml(find_files(tmp_path, ".xml"))
    assert [file.path.name for file in reads.files] == ["069.xml"]
    assert reads.counts[lidc_xml.COPIED_FILES] == 1
    assert reads.counts[OUTLINED] == 1
    assert not reads.remarks


def test_the_file_serviced_last_counts(tmp_path: Path) -> None:
    write(tmp_path / "a.xml", make_xml(SERIES, [[NODULE], [NODULE]], date="2010-01-01"))
    write(tmp_path / "b.xml", make_xml(SERIES, [[NODULE]], date="2008-08-18"))
    reads = read_lidc_xml(find_files(tmp_path, ".xml"))
    assert [file.path.name for file in reads.files] == ["a.xml"]
    assert reads.counts[OUTLINED] == 2
    assert reads.remarks == [f"2 files of series {SERIES.uid}: a.xml is used, it was serviced last"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no element found"),
        (b"<LidcReadMessage><readingSession>", "no element found|unclosed"),
        (b"\xff\xfe<\0a\0/\0>\0", "decode"),
        (b"<html/>", "its root is 'html', not LidcReadMessage"),
        (b"<LidcReadMessage/>", "no SeriesInstanceUid"),
        (make_xml(SERIES, [[Nodule([Curve(0, [(1, 2), (3, 4), (10**9, 5)])])]]).encode(), "xCoord is '1000000000'"),
        (make_xml(SERIES, [[Nodule([Curve(0, [(1, 2), (8200, 4), (3, 5)])])]]).encode(), "xCoord is '8200'"),
        (make_xml(SERIES, [[Nodule([Curve(0, [(1, 2), (3000, 4), (3, 5)])])]]).encode(), "curve is 2999 pixels across"),
        (make_xml(SERIES, [[Nodule([Curve(0, [(1, 2), (3, 4)] * 1500)])]]).encode(), "a curve has 3,000 points"),
        (make_xml(SERIES, [[NODULE]]).replace("<xCoord>4<", "<xCoord>nan<").encode(), "xCoord is 'nan'"),
        (make_xml(SERIES, [], head='<!DOCTYPE a SYSTEM "file:///etc/passwd">').encode(), "document type"),
    ],
)
def test_what_is_no_annotation_file_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(content)
    rejected = refuse(path)
    assert rejected.code is RejectCode.BAD_XML
    assert re.search(said, rejected.reason)


def test_entities_are_never_expanded(tmp_path: Path) -> None:
    bomb = "".join(f'<!ENTITY a{k} "{f"&a{k - 1};" * 10 if k else "ha" * 50}">' for k in range(10))
    head = f"<!DOCTYPE LidcReadMessage [{bomb}]>"
    path = write(tmp_path / "a.xml", make_xml(SERIES, [[Nodule([Curve(0)], name="&a9;")]], head=head))
    tracemalloc.start()
    assert refuse(path).code is RejectCode.BAD_XML
    assert tracemalloc.get_traced_memory()[1] < 1e7
    tracemalloc.stop()


def test_a_file_of_any_length_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    with path.open("wb") as file:
        file.truncate(1 << 36)
    assert refuse(path).code is RejectCode.TOO_LARGE


def test_elements_without_end_are_not_parsed(tmp_path: Path) -> None:
    """Two million in each other in 6 MB took 0.7 GB."""
    path = tmp_path / "a.xml"
    path.write_text("<LidcReadMessage>" + "<a>" * 500_000)
    tracemalloc.start()
    refused = refuse(path)
    assert tracemalloc.get_traced_memory()[1] < 1e7
    tracemalloc.stop()
    assert (refused.code, "500,000 tags" in refused.reason) == (RejectCode.TOO_LARGE, True)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.xml")
    rejected = refuse(tmp_path / "a.xml")
    assert rejected.code is RejectCode.UNREADABLE_FILE
    assert "is no regular file" in rejected.reason


def test_one_bad_file_costs_itself(tmp_path: Path) -> None:
    write(tmp_path / "1.xml", "<LidcReadMessage>")
    write(tmp_path / "2.xml", make_xml(SERIES, [[NODULE]]))
    reads = read_lidc_xml([*find_files(tmp_path, ".xml"), tmp_path / "gone.xml"])
    assert [file.path.name for file in reads.files] == ["2.xml"]
    assert [one.code for one in reads.rejected] == [RejectCode.BAD_XML, RejectCode.UNREADABLE_FILE]


def test_a_height_may_be_missing_where_the_slice_is_named(tmp_path: Path) -> None:
    text = make_xml(SERIES, [[NODULE]]).replace("<imageZposition>-10.000000 </imageZposition>", "")
    (outline,) = read_one(write(tmp_path / "a.xml", text)).outlines
    assert outline.contours[0].z_mm != outline.contours[0].z_mm
    assert outline.contours[1].z_mm == -7.5


def test_a_namespace_is_not_written_before_each_name(tmp_path: Path) -> None:
    """One of 1 MB and 8,000 names took over 9 GB."""
    tags = "".join(f"<a{number}/>" for number in range(1000))
    for name, text in {
        "an attribute has 100,000 characters": f'<LidcReadMessage xmlns="{"u" * 100_000}">{tags}</LidcReadMessage>',
        "a name in it has 100,000 characters": f"<LidcReadMessage><{'u' * 100_000}/></LidcReadMessage>",
        "a name in it has 100,001 characters": f'<LidcReadMessage a{"u" * 100_000}="1"/>',
    }.items():
        path = write(tmp_path / "a.xml", text)
        tracemalloc.start()
        refused = refuse(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (refused.code, name in refused.reason) == (RejectCode.BAD_XML, True), refused.reason
        assert peak < 1e7


def test_names_are_read_without_their_namespace(tmp_path: Path) -> None:
    text = make_xml(SERIES, [[NODULE]])
    plain = read_one(write(tmp_path / "a.xml", text))
    prefixed = re.sub(r"<(/?)(?=[A-Za-z])", r"<\1nih:", text).replace(
        "LidcReadMessage", "LidcReadMessage xmlns:nih='u'", 1
    )
    assert prefixed.count("<nih:") == prefixed.count("</nih:") > 10
    again = read_one(write(tmp_path / "b.xml", prefixed))
    assert (again.series_uid, again.counts, again.serviced) == (plain.series_uid, plain.counts, plain.serviced)
    assert again.outlines[0].ratings == plain.outlines[0].ratings
    for one, other in zip(again.outlines[0].contours, plain.outlines[0].contours, strict=True):
        assert one.points_px.tolist() == other.points_px.tolist()


@pytest.mark.parametrize("change", ["<!-- a comment -->", "<?pi?>", "<![CDATA[ ]]>", "&#32;"])
def test_text_is_put_together(tmp_path: Path, change: str) -> None:
    text = make_xml(SERIES, [[NODULE]])
    file = read_one(write(tmp_path / "a.xml", text.replace("Nodule 001", f"Nodule {change}001")))
    assert file.outlines[0].name.split() == ["Nodule", "001"]
