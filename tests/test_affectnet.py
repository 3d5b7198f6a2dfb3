"""AffectNet's tables: what is taken, what is listed with which reason, and the crop by the table's box."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from emolib import corpora
from emolib.corpora import affectnet, scan
from emolib.frames import MANIFEST_COLUMNS
from emolib.preprocessing import prepare
from emolib.render.clip import render_still
from emolib.render.identity import identity

HEADER = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
IMAGES = "Manually_Annotated_Images"
POINTS = ";".join(str(k / 2) for k in range(136))


def line(path: str, *, box="10,20,30,40", points=POINTS, expression="0", valence="-0.5", arousal="0.25") -> str:
    return f"{path},{box},{points},{expression},{valence},{arousal}"


def made_up(root: Path, *, header: str = HEADER, files: tuple[str, ...] = (), **tables: list[str]) -> Path:
    """A folder in AffectNet's form: `files` below its images (empty ones), and tables of lines."""
    (root / IMAGES).mkdir(parents=True, exist_ok=True)
    for name in files:
        path = root / IMAGES / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for name, lines in tables.items():
        (root / f"{name}.csv").write_text("\n".join([header, *lines]) + "\n", "utf-8")
    return root


def reasons(corpus) -> dict[str, str]:
    return {source.removeprefix(f"{IMAGES}/"): reason for source, reason in corpus.excluded.to_numpy()}


def test_a_row_becomes_a_sample_and_its_table_its_split(tmp_path):
    root = made_up(
        tmp_path,
        files=("1/a.jpg", "12/b.PNG"),
        training=[line("12/b.PNG", expression="7", valence="-2", arousal="-2")],
        validation=[line("1/a.jpg", expression="3")],
    )
    corpus = scan("affectnet", root)
    assert (corpus.name, corpus.label_space, corpus.kind, corpus.landmarks) == (
        "affectnet",
        "affectnet8",
        "still",
        None,
    )
    names = [f"{IMAGES}/12/b.PNG", f"{IMAGES}/1/a.jpg"]
    sources = corpus.sources.set_index("source").loc[names]
    assert sources["label"].tolist() == [7, 3] and sources["split"].tolist() == ["train", "validation"]
    assert sources["video"].tolist() == sources["subject"].tolist() == names
    assert sources[["face_x", "face_y", "face_width", "face_height"]].values.tolist() == [[10, 20, 30, 40]] * 2
    assert np.array_equal(sources[["valence", "arousal"]], [[np.nan, np.nan], [-0.5, 0.25]], equal_nan=True)
    assert reasons(corpus) == {"training.csv": "table", "validation.csv": "table"} and corpus.notes == ()
    assert set(corpus.sources.columns) & set(MANIFEST_COLUMNS) == set(corpora.SOURCE_COLUMNS)


ROWS = {
    "8": (line("8.jpg", expression="8"), r"expression 8 \(none\) is no class of affectnet8"),
    "9": (line("9.jpg", expression="9"), r"expression 9 \(uncertain\)"),
    "10": (line("10.jpg", expression="10"), r"expression 10 \(no face\)"),
    "11": (line("11.jpg", expression="11"), r"expression is not in 0\.\.10"),
    "fraction": (line("f.jpg", expression="1.5"), r"expression is not in 0\.\.10"),
    "text": (line("t.jpg", expression="happy"), "expression is no number"),
    "empty": (line("e.jpg", expression=""), "expression is no number"),
    "box": (line("b.jpg", box="10,x,30,40"), "face_y is no number"),
    "infinite": (line("i.jpg", box="10,0,inf,40"), "face_width is no number"),
    "no width": (line("w.jpg", box="10,20,0,40"), "face_width is below 1 pixel"),
    "negative": (line("n.jpg", box="10,20,30,-4"), "face_height is below 1 pixel"),
    "half a pixel": (line("h.jpg", box="10,20,0.5,40"), "face_width is below 1 pixel"),
    "far": (line("far.jpg", box="10,-2e6,30,40"), r"face_y is not in -1e\+06\.\.1e\+06"),
    "huge": (line("huge.jpg", box="10,20,30,1e300"), r"face_height is not in -1e\+06\.\.1e\+06"),
    "valence": (line("v.jpg", valence="1.5"), r"valence is neither in -1\.\.1 nor -2"),
    "arousal": (line("a.jpg", arousal="NULL"), "arousal is no number"),
    "suffix": (line("a.txt"), "no image file"),
    "absent": (line("absent.jpg"), "no such file"),
    "outside": (line("../../outside.jpg"), "no such file"),
    "short": ("s.jpg,10,20", "expression is no number"),
    "nothing": (line(""), "no path"),
}


@pytest.mark.parametrize(("row", "reason"), ROWS.values(), ids=ROWS)
def test_a_row_that_cannot_be_used_is_listed_with_the_reason(tmp_path, row, reason):
    name = row.split(",", 1)[0]
    there = (name,) if name and reason != "no such file" else ()
    (tmp_path / "outside.jpg").touch()
    root = made_up(tmp_path / "affectnet", files=("1/good.jpg", *there), training=[line("1/good.jpg"), row])
    corpus = scan("affectnet", root)
    assert corpus.sources["source"].tolist() == [f"{IMAGES}/1/good.jpg"]
    [listed] = [text for source, text in corpus.excluded.to_numpy() if source == f"{IMAGES}/{name}"]
    assert listed.startswith("training.csv: ")
    assert corpus.excluded["reason"].str.fullmatch(f"training.csv: {reason}.*").sum() == 1
    assert "validation.csv is not here" in corpus.notes[0]


def test_every_file_is_a_sample_or_listed_and_every_row_counts_once(tmp_path):
    rows = [line("1/a.jpg"), line("1/a.jpg", expression="2"), line("1/c.jpg", expression="8"), line("1/c.jpg")]
    files = ("1/a.jpg", "1/b.jpg", "1/c.jpg", "1/.hidden.jpg")
    corpus = scan("affectnet", made_up(tmp_path, files=files, training=rows, validation=[line("1/b.jpg")]))
    assert sorted(corpus.sources["source"]) == [f"{IMAGES}/1/{name}.jpg" for name in "abc"]
    assert corpus.sources.set_index("source").loc[f"{IMAGES}/1/a.jpg", "label"] == 0, "the first row counts"
    listed = corpus.excluded["reason"].value_counts().to_dict()
    assert listed == {
        "training.csv: listed before, there it counts": 1,
        "training.csv: expression 8 (none) is no class of affectnet8": 1,
        "hidden file": 1,
        "table": 2,
    }


def test_an_image_in_both_tables_is_one_of_validation(tmp_path):
    corpus = scan(
        "affectnet", made_up(tmp_path, files=("a.jpg",), training=[line("a.jpg")], validation=[line("a.jpg")])
    )
    assert corpus.sources["split"].tolist() == ["validation"]


def test_a_file_that_no_table_lists_is_listed_here(tmp_path):
    corpus = scan("affectnet", made_up(tmp_path, files=("a.jpg", "b.jpg"), validation=[line("a.jpg")]))
    assert reasons(corpus)["b.jpg"] == "not listed in validation.csv"


def test_backslashes_a_byte_order_mark_blanks_and_further_columns_do_not_matter(tmp_path):
    root = made_up(tmp_path, files=("1/a.jpg",), training=["x, " + line("1\\a.jpg")], header="extra, " + HEADER)
    path = root / "training.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert scan("affectnet", root).sources["source"].tolist() == [f"{IMAGES}/1/a.jpg"]


def test_the_folder_of_images_is_an_option(tmp_path):
    root = made_up(tmp_path, files=("1/a.jpg",), training=[line("1/a.jpg")])
    (root / IMAGES).rename(root / "pictures")
    with pytest.raises(FileNotFoundError, match="no folder 'Manually_Annotated_Images' of images"):
        scan("affectnet", root)
    assert scan("affectnet", root, images="pictures/").sources["source"].tolist() == ["pictures/1/a.jpg"]
    (root / "pictures" / "1").rename(root / "1")
    assert scan("affectnet", root, images="").sources["source"].tolist() == ["1/a.jpg"]


def test_a_table_that_is_none_names_itself(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"neither validation\.csv nor training\.csv is here"):
        scan("affectnet", made_up(tmp_path))
    for content, message in (
        (HEADER.replace("face_width,", "") + "\n", r"training\.csv: column\(s\) \['face_width'\] missing.*'valence'"),
        (line("a.jpg") + "\n", r"training\.csv: column\(s\) \['subDirectory_filePath'"),
        ("", r"training\.csv: no CSV"),
        (HEADER + "\n" + line("Zoë.jpg"), r"training\.csv: no UTF-8"),
    ):
        (tmp_path / "training.csv").write_text(content, "latin-1")
        with pytest.raises(ValueError, match=message):
            scan("affectnet", tmp_path)


def test_only_rows_that_cannot_be_used_are_an_error_that_counts_them(tmp_path):
    rows = [line("a.jpg", expression="8"), line("b.jpg", expression="8"), line("c.jpg", expression="9")]
    with pytest.raises(ValueError, match=r"2 x training\.csv: expression 8"):
        scan("affectnet", made_up(tmp_path, training=rows))


def test_tables_without_rows_have_no_sample_and_one_of_them_is_no_harm(tmp_path):
    root = made_up(tmp_path, files=("a.jpg",), training=[], validation=[])
    with pytest.raises(ValueError, match=r"no sample .*1 x not listed in validation\.csv or training\.csv"):
        scan("affectnet", root, landmarks=True)
    made_up(tmp_path, training=[line("a.jpg")])
    assert scan("affectnet", root, landmarks=True).sources["split"].tolist() == ["train"]


def test_landmarks_are_read_on_request_in_the_order_of_the_sources(tmp_path):
    shifted = ";".join(str(k / 2 + 1) for k in range(136))
    rows = [line("b.jpg"), line("a.jpg", points=shifted), line("d.jpg", points="1;2;3"), line("c.jpg", points="1;x")]
    corpus = scan(
        "affectnet", made_up(tmp_path, files=("a.jpg", "b.jpg", "c.jpg", "d.jpg"), training=rows), landmarks=True
    )
    assert corpus.sources["source"].str[-5].tolist() == ["a", "b", "c", "d"]
    plain = np.arange(136, dtype=np.float32).reshape(68, 2) / 2
    assert np.array_equal(corpus.landmarks[:2], [plain + 1, plain]) and corpus.landmarks.dtype == np.float32
    assert np.isnan(corpus.landmarks[2:]).all()


@pytest.mark.parametrize("cell", ["", "1;2", POINTS + ";1", POINTS.replace("0.5", "nan"), POINTS.replace("0.5", "x")])
def test_a_cell_without_68_points_is_no_face(cell):
    assert np.isnan(affectnet.read_points([cell])).all()


FORMATS = {"a.jpg": "RGB", "b.png": "RGBA", "c.bmp": "L", "d.tif": "RGB", "e.jpeg": "CMYK", "f.webp": "RGB"}


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> tuple[Path, np.ndarray]:
    """Pictures of several formats and sizes, a face of 160 pixels at (40, 20) of each; and its 68 points there."""
    root = tmp_path_factory.mktemp("affectnet")
    drawn, points, _ = render_still(identity(1, "01", female=True), {12: 2}, size_px=160, seed=3)
    (root / IMAGES).mkdir()
    cells = ";".join(f"{value:.2f}" for value in (points + (40, 20)).ravel())
    rows = []
    for number, (name, mode) in enumerate(FORMATS.items()):
        canvas = np.full((200 + 10 * number, 260, 3), 90, np.uint8)
        canvas[20:180, 40:200] = drawn
        Image.fromarray(canvas).convert(mode).save(root / IMAGES / name, **({"quality": 95} if name != "c.bmp" else {}))
        rows.append(line(name, box="40,20,160,160", points=cells, expression=str(number % 8)))
    (root / IMAGES / "broken.jpg").write_bytes(b"no picture")
    rows.append(line("broken.jpg"))
    rows.append(line("beside.jpg", box="900,20,160,160"))
    cv2.imwrite(str(root / IMAGES / "beside.jpg"), np.full((50, 50), 9, np.uint8))
    rows.append(line("edge.jpg", box="59,0,400,400"))
    cv2.imwrite(str(root / IMAGES / "edge.jpg"), np.full((60, 60), 9, np.uint8))
    made_up(root, training=rows[:4], validation=rows[4:])
    return root, points


@pytest.mark.parametrize("landmarks", [False, True])
def test_faces_are_cut_out_by_the_box_of_the_table(faces, tmp_path, landmarks):
    root, points = faces
    corpus = scan("affectnet", root, landmarks=landmarks)
    store = prepare(corpus, tmp_path / "s", crop="box", guides=("landmarks",), workers=1, progress=False)
    assert store.manifest["source"].tolist() == [f"{IMAGES}/{name}" for name in FORMATS]
    assert store.manifest["split"].tolist() == ["train"] * 4 + ["validation"] * 2
    assert (store.manifest[["box_left", "box_top", "box_right", "box_bottom"]] == [40, 20, 200, 180]).all(axis=None)
    images = store.array("image").astype(int)
    assert np.abs(images - images[0]).mean() < 3, "one face in six formats"
    error = np.linalg.norm(store.array("landmarks") - (points + (40, 20)), axis=2)
    assert np.median(error) < (0.01 if landmarks else 5)
    assert set(store.manifest["detector"]) == {"given" if landmarks else "dlib"}
    excluded = {Path(source).name: reason for source, reason in store.table("excluded").to_numpy()}
    assert excluded["beside.jpg"] == "the box of the face holds no pixel of the picture" and excluded["broken.jpg"]
    assert excluded["edge.jpg"] == "less than 50% of the face's box lies inside the picture"
    assert {"valence", "arousal"} <= set(store.manifest.columns)
