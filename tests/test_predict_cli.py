"""``emolib predict``: mixed inputs, exit codes, what is printed and written, the camera."""

from __future__ import annotations

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from emolib import classify, labels, models
from emolib.cli import app
from emolib.predict import camera, look, output
from emolib.render.clip import render_still
from emolib.render.identity import identity
from emolib.video import MediaError, open_video

CLASSES = labels.names("fer7")


@pytest.fixture(scope="module")
def portrait():
    return render_still(identity(1, "01", female=True), {12: 2}, seed=3)[0]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    state = models.build("plain_cnn", len(CLASSES)).eval().state_dict()
    classify.save_classifier(path, state, model="plain_cnn", classes=CLASSES, crop="aligned", facts={})
    return path


@pytest.fixture
def media(tmp_path, portrait):
    """A folder with two pictures of one stem, a video, a broken picture and a text."""
    folder = tmp_path / "mes médias"
    folder.mkdir()
    Image.fromarray(portrait).save(folder / "a.png")
    Image.fromarray(portrait[:, ::-1]).save(folder / "a.jpg")
    (folder / "broken.jpg").write_bytes((folder / "a.jpg").read_bytes()[:900])
    (folder / "notes.txt").write_text("no picture")
    output.write_video(folder / "clip.mp4", [(k / 10, portrait) for k in range(6)], frame_rate_hz=10)
    return folder


def call(*arguments):
    return CliRunner().invoke(app, ["predict", *map(str, arguments)])


def test_a_batch_goes_on_after_a_bad_file_and_says_so(media, weights, tmp_path):
    before = {file: file.read_bytes() for file in media.iterdir()}
    out = tmp_path / "out"
    result = call(media, tmp_path / "absent.png", "--weights", weights, "--out", out)
    assert result.exit_code == 1 and "Traceback" not in result.output
    assert (
        "2 could not be read or written:" in result.stderr
        and "broken.jpg: " in result.stderr
        and "absent.png: no such" in result.stderr
    )
    assert {file: file.read_bytes() for file in media.iterdir()} == before
    assert sorted(file.name for file in out.iterdir()) == [
        *("a-2.annotated.jpg", "a.annotated.jpg", "clip.annotated.mp4", "clip.html"),
        *("predictions.csv", "predictions.json"),
    ]
    table = pd.read_csv(out / "predictions.csv")
    assert [Path(source).name for source in table["source"]] == ["a.jpg", "a.png", *["clip.mp4"] * 6]
    about = json.loads((out / "predictions.json").read_text("utf-8"))
    assert about["complete"] is True and about["earlier_files"] == []
    assert [Path(one["source"]).name for one in about["sources"]] == ["a.jpg", "a.png", "clip.mp4"]
    assert [Path(one["source"]).name for one in about["failures"]] == ["absent.png", "broken.jpg"]
    assert about["sources"][2]["votes"][0]["n_frames"] == 6 and about["sources"][2]["files"]["page"] == "clip.html"
    assert about["sources"][1]["answers"][0]["emotion"] == table["emotion"][1] and about["crop"] == "aligned"
    lines = result.stdout.splitlines()
    assert sum("a.png  face 0  " in line for line in lines) == 1
    assert any("clip.mp4: " in line and "a face in 100.0% of 6 frames" in line for line in lines)


@pytest.mark.parametrize(
    ("step", "error", "of", "lost"),
    [
        ("write_picture", OSError("broken data stream"), "a.jpg", {"a.annotated.jpg"}),
        ("annotate", MediaError("a.jpg", "gone"), "a.jpg", {"a.annotated.jpg"}),
        ("write_video", av.FFmpegError(22, "Invalid argument"), "clip.mp4", {"clip.annotated.mp4", "clip.html"}),
        ("write_text", OSError("disk full"), "clip.mp4", {"clip.html"}),
    ],
)
def test_what_cannot_be_drawn_or_written_fails_alone_and_keeps_its_answers(
    media, weights, tmp_path, monkeypatch, step, error, of, lost
):
    (media / "broken.jpg").unlink()
    real, calls = getattr(output, step), []

    def first_time_broken(*args, **options):
        calls.append(args)
        if len(calls) == 1:
            raise error
        return real(*args, **options)

    monkeypatch.setattr(output, step, first_time_broken)
    out = tmp_path / "out"
    result = call(media, "--weights", weights, "--out", out, "--no-detect")
    assert result.exit_code == 1 and f"{of}: the " in result.stderr and "could not be written (" in result.stderr
    everything = {"a-2.annotated.jpg", "a.annotated.jpg", "clip.annotated.mp4", "clip.html"}
    everything |= {"predictions.csv", "predictions.json"}
    assert {file.name for file in out.iterdir()} == everything - lost
    about = json.loads((out / "predictions.json").read_text("utf-8"))
    assert [len(one["answers"]) for one in about["sources"]] == [1, 1, 6] and about["complete"] is True
    assert [Path(one["source"]).name for one in about["failures"]] == [of]
    assert {name for one in about["sources"] for name in one["files"].values()} == {
        name for name in everything - lost if not name.startswith("predictions")
    }


@pytest.mark.parametrize("error", [KeyboardInterrupt(), BrokenPipeError(32, "Broken pipe"), RuntimeError("no memory")])
def test_a_run_that_ends_early_leaves_tables_of_what_was_finished(media, weights, tmp_path, monkeypatch, error):
    def broken(*_, **__):
        raise error

    monkeypatch.setattr(look, "video", broken)
    result = call(media, "--weights", weights, "--out", tmp_path / "out", "--no-detect")
    assert result.exit_code not in (0, 1) or isinstance(error, KeyboardInterrupt)
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    about = json.loads((tmp_path / "out" / "predictions.json").read_text("utf-8"))
    assert [Path(source).name for source in table["source"]] == ["a.jpg", "a.png"] and about["complete"] is False
    assert [one["answers"][0]["emotion"] for one in about["sources"]] == table["emotion"].tolist()


def test_what_a_cluster_kills_leaves_its_tables(media, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(look, "video", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        result = call(media, "--weights", weights, "--out", tmp_path / "out", "--no-detect")
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    about = json.loads((tmp_path / "out" / "predictions.json").read_text("utf-8"))
    assert result.exit_code != 0 and len(about["sources"]) == 2 and about["complete"] is False


def test_results_below_a_folder_with_a_colon(media, weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call(media / "clip.mp4", "--weights", weights, "--out", "at12:30", "--no-detect").exit_code == 0
    assert list((tmp_path / "at12:30").glob("*.annotated.mp4")) and list((tmp_path / "at12:30").glob("*.html"))


def test_files_of_ones_own_survive_the_first_and_the_second_run(media, weights):
    out = media.parent / "talks"
    out.mkdir()
    own = {name: f"my own {name}" for name in ("a.annotated.jpg", "clip.html", "predictions.csv", "predictions.json")}
    for name, content in own.items():
        (out / name).write_text(content)
    made = {"a-2.annotated.jpg", "a-3.annotated.jpg", "clip.annotated.mp4", "clip-2.html"}
    made |= {"predictions-2.csv", "predictions-2.json"}
    for named in (media, media / "a.jpg", media):  # the second run makes less, and the third replaces all the same
        call(named, "--weights", weights, "--out", out, "--no-detect")
        assert {file.name for file in out.iterdir()} == {*own, *made}
        assert {name: (out / name).read_text() for name in own} == own


def test_a_name_that_cannot_be_asked_for_stops_no_batch(media, weights, tmp_path):
    (tmp_path / "round").symlink_to("round")
    named = ["x" * 300, tmp_path / "round", media / "a.jpg"]
    result = call(*named, "--weights", weights, "--out", tmp_path / "out", "--no-detect")
    assert result.exit_code == 1 and "File name too long" in result.stderr and "circular link" in result.stderr
    assert len(pd.read_csv(tmp_path / "out" / "predictions.csv")) == 1


def test_a_ribbon_of_a_picture_is_named_and_stops_no_batch(tmp_path, weights, portrait):
    Image.new("L", (8_000_000, 1), 128).save(tmp_path / "a.png")
    Image.fromarray(portrait).save(tmp_path / "b.png")
    result = call(tmp_path, "--weights", weights, "--out", tmp_path / "out")
    assert result.exit_code == 1 and "a.png: 8000000x1 pixels" in result.stderr and "Traceback" not in result.output
    assert pd.read_csv(tmp_path / "out" / "predictions.csv")["source"].str.endswith("b.png").tolist() == [True]


def test_nothing_is_written_unless_asked_for(media, weights, monkeypatch):
    monkeypatch.chdir(media)
    before = sorted(media.rglob("*"))
    result = call("a.png", "clip.mp4", "--weights", weights, "--frame-step", 2, "--views", 2)
    assert result.exit_code == 0 and "of 3 frames" in result.stdout and sorted(media.rglob("*")) == before


def test_results_inside_of_what_is_read_are_not_read_again(media, weights):
    (media / "broken.jpg").unlink()
    for _ in range(2):
        result = call(media, "--weights", weights, "--out", media / "out", "--no-detect")
        assert result.exit_code == 0, result.output
        about = json.loads((media / "out" / "predictions.json").read_text("utf-8"))
        assert len(about["sources"]) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to look at"),
        (["{media}/a.png", "--weights", "nonsuch"], "nonsuch"),
        (["{media}/a.png", "--frame-step", "0"], "--frame-step 0"),
        (["{media}/a.png", "--views", "3"], "views: 3"),
        (["{media}/a.png", "--device", "abacus"], "abacus"),
        (["{media}", "--out", "{media}"], "choose another folder"),
        (["{media}/a.png", "--out", "{media}/notes.txt"], "a folder is needed"),
        (["{media}/a.png", "--camera", "front"], "--camera"),
        (["{media}/a.png", "--seconds", "3"], "--seconds is for a webcam"),
        (["{media}/a.png", "--all-faces", "--no-detect"], "a ready face crop has one face"),
    ],
)
def test_errors_of_usage_are_one_line_and_exit_code_2(media, weights, arguments, message):
    named = [argument.format(media=media) for argument in arguments]
    result = call(*named, *([] if "--weights" in named else ["--weights", weights]))
    assert result.exit_code == 2 and message in result.output and "Traceback" not in result.output


def test_only_failures_leave_empty_tables(tmp_path, weights):
    (tmp_path / "empty").mkdir()
    result = call(tmp_path / "empty", "--weights", weights, "--out", tmp_path / "out")
    assert result.exit_code == 1 and "no picture or video in this folder" in result.stderr
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert table.empty and "p_happy" in table.columns


class Camera:
    """Stands for OpenCV's: some pictures, then nothing or Ctrl-C, while a further one is taken."""

    def __init__(self, pictures, *, interrupted: bool = False):
        self.pictures, self.interrupted, self.released = list(pictures), interrupted, False

    def isOpened(self):  # noqa: N802 (OpenCV's name)
        return bool(self.pictures) or self.interrupted

    def read(self):
        if self.pictures:
            return True, self.pictures.pop(0)[..., ::-1]
        if self.interrupted:
            signal.raise_signal(signal.SIGINT)
            return True, np.zeros((48, 48, 3), np.uint8)
        return False, None

    def release(self):
        self.released = True


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_camera_is_a_video_until_it_ends_or_is_stopped(monkeypatch, tmp_path, weights, portrait, interrupted):
    device = Camera([portrait, np.full_like(portrait, 120), portrait], interrupted=interrupted)
    monkeypatch.setattr(camera.cv2, "VideoCapture", lambda number: device)
    result = call("--camera", 0, "--weights", weights, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert "camera 0: " in result.stdout and "of 3 frames" in result.stdout and device.released
    table = pd.read_csv(tmp_path / "predictions.csv")
    assert table["face"].notna().tolist() == [True, False, True] and (table["time_s"].diff().dropna() > 0).all()
    assert {"camera-0.annotated.mp4", "camera-0.html"} <= {file.name for file in tmp_path.iterdir()}


def test_a_camera_stopped_while_a_frame_is_encoded_keeps_everything(monkeypatch, tmp_path, weights, portrait):
    encoded = []

    def encode(*args, **options):
        encoded.append(signal.raise_signal(signal.SIGINT) if len(encoded) == 1 else None)
        return av.VideoFrame.from_ndarray(*args, **options)

    monkeypatch.setattr(camera.cv2, "VideoCapture", lambda number: Camera([portrait] * 9))
    monkeypatch.setattr(output, "av", SimpleNamespace(open=av.open, VideoFrame=SimpleNamespace(from_ndarray=encode)))
    result = call("--camera", 0, "--weights", weights, "--out", tmp_path, "--no-detect")
    assert result.exit_code == 0 and "of 2 frames" in result.stdout and len(encoded) == 2
    assert len(pd.read_csv(tmp_path / "predictions.csv")) == 2
    assert sum(1 for _ in open_video(tmp_path / "camera-0.annotated.mp4").frames()) == 2


def test_a_camera_whose_video_cannot_be_written_keeps_its_answers(monkeypatch, tmp_path, weights, portrait):
    def broken(file, pictures, **_):
        for _ in zip(range(2), pictures, strict=False):
            pass
        raise OSError("disk full")

    monkeypatch.setattr(camera.cv2, "VideoCapture", lambda number: Camera([portrait] * 9))
    monkeypatch.setattr(output, "write_video", broken)
    result = call("--camera", 0, "--weights", weights, "--out", tmp_path, "--no-detect")
    assert result.exit_code == 1 and "disk full" in result.stderr
    assert len(pd.read_csv(tmp_path / "predictions.csv")) >= 2
    assert {file.name for file in tmp_path.iterdir()} == {"predictions.csv", "predictions.json"}


def test_the_second_interrupt_interrupts_and_the_handler_is_given_back():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), camera.asked_to_stop() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.is_set()
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_only_the_main_thread_handles_signals():
    def inside() -> object:
        with camera.asked_to_stop() as stop:
            return stop.is_set(), signal.getsignal(signal.SIGINT)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(inside).result() == (False, signal.getsignal(signal.SIGINT))


@pytest.mark.parametrize(
    ("device", "message"),
    [(Camera([]), "cannot be opened"), (Camera([], interrupted=True), "stopped before the first picture")],
)
def test_no_camera_is_a_clear_error(monkeypatch, weights, device, message):
    monkeypatch.setattr(camera.cv2, "VideoCapture", lambda number: device)
    result = call("--camera", 3, "--weights", weights)
    assert result.exit_code == 1 and "camera 3: " in result.stderr and message in result.stderr
