"""Decoding: times, range, padding, rotation, damage; audio; stills."""

from __future__ import annotations

import errno
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from emolib import video
from emolib.predict import reading
from emolib.video import MediaError, open_video, read_audio, read_image_grey

RAMP = np.tile(np.linspace(20, 230, 128), (96, 1)).astype(np.uint8)  # brighter to the right


def write_video(
    path: Path, pictures, *, codec="libx264", pix_fmt="yuv420p", rate=25, pts=None, options=None, stretch=None
) -> Path:
    """Write rgb pictures uint8 [H, W, 3]; `pts` in thousandths of a second; `stretch`: width to height of a pixel."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pix_fmt
        if stretch is not None:
            stream.codec_context.sample_aspect_ratio = stretch
        if pts is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            if pts is not None:
                frame.pts, frame.time_base = pts[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=2)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuvj420p", "yuv444p", "yuv420p10le"])
def test_grey_is_full_range_whatever_the_pixel_format(tmp_path, pix_fmt):
    path = write_video(tmp_path / "a.mp4", [rgb(RAMP)] * 2, pix_fmt=pix_fmt, options={"crf": "1"})
    frame = next(open_video(path).frames(rgb=True))
    assert frame.grey.shape == RAMP.shape and frame.grey.dtype == np.uint8
    assert np.abs(frame.grey.astype(int) - RAMP).mean() < 2
    assert np.abs(frame.rgb.astype(int) - rgb(RAMP)).mean() < 4


def test_an_rgb_codec_is_converted(tmp_path):
    path = write_video(tmp_path / "a.avi", [rgb(RAMP)], codec="png", pix_fmt="rgb24")
    assert np.abs(next(open_video(path).frames()).grey.astype(int) - RAMP).max() <= 2


@pytest.mark.parametrize("size", [(50, 34), (98, 70), (854, 480)])
def test_padding_of_a_line_is_no_picture(tmp_path, size):
    width, height = size
    picture = np.tile(np.linspace(30, 220, width), (height, 1)).astype(np.uint8)
    path = write_video(tmp_path / "a.mp4", [rgb(picture)], options={"crf": "1"})
    assert np.abs(next(open_video(path).frames()).grey.astype(int) - picture).max() < 12


def test_one_odd_sized_frame(tmp_path):
    picture = rgb(RAMP[:61, :77])
    path = write_video(tmp_path / "a.mkv", [picture], codec="ffv1", pix_fmt="yuv444p")
    opened = open_video(path)
    frames = list(opened.frames())
    assert [frame.grey.shape for frame in frames] == [(61, 77)]
    assert opened.n_decoded == 1 and opened.notes == []


def test_frame_step_keeps_true_indices_and_times(tmp_path):
    path = write_video(tmp_path / "a.mp4", [rgb(RAMP)] * 10)
    opened = open_video(path)
    kept = list(opened.frames(frame_step=3))
    assert [frame.index for frame in kept] == [0, 3, 6, 9]
    assert np.allclose([frame.time_s for frame in kept], [0, 0.12, 0.24, 0.36])
    assert opened.frame_rate_hz == 25 and opened.n_decoded == 10 and np.isclose(opened.duration_s, 0.4)
    with pytest.raises(ValueError, match="frame_step is 0"):
        next(opened.frames(frame_step=0))


def test_a_variable_frame_rate_keeps_true_times(tmp_path):
    pts = [0, 40, 200, 210, 900]
    path = write_video(tmp_path / "a.mkv", [rgb(RAMP)] * 5, pts=pts, options={"bf": "0"})
    assert np.allclose([frame.time_s for frame in open_video(path).frames()], np.array(pts) / 1000, atol=2e-3)


def turn(path: Path, turns: int) -> None:
    """Write quarter turns clockwise into an mp4's header."""
    data = bytearray(path.read_bytes())
    cos, sin = [(1, 0), (0, 1), (-1, 0), (0, -1)][turns]  # the matrix of a track header turns clockwise
    # version and flags, two times, id, reserved, duration, reserved (8), layer, group, volume, reserved: the matrix
    matrix = data.index(b"tkhd") + 4 + 4 + 5 * 4 + 8 + 4 * 2
    data[matrix : matrix + 36] = struct.pack(">9i", cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_the_display_matrix_turns_the_picture(tmp_path, turns):
    path = write_video(tmp_path / "a.mp4", [rgb(RAMP)], options={"crf": "1"})
    turn(path, turns)
    frame = next(open_video(path).frames(rgb=True))
    expected = np.rot90(RAMP, k=-turns)
    assert frame.grey.shape == expected.shape == frame.rgb.shape[:2]
    assert np.abs(frame.grey.astype(int) - expected).mean() < 2


@pytest.mark.parametrize("turns", [0, 1])
@pytest.mark.parametrize(("stretch", "width"), [(Fraction(2), 256), (Fraction(1, 2), 64), (Fraction(16, 11), 186)])
def test_pixels_that_are_not_square_are_made_so_before_the_picture_is_turned(tmp_path, stretch, width, turns):
    path = write_video(tmp_path / "a.mp4", [rgb(RAMP)] * 2, options={"crf": "1"}, stretch=stretch)
    turn(path, turns)
    opened = open_video(path)
    (first, _) = opened.frames(rgb=True)
    expected = np.rot90(np.tile(np.linspace(20, 230, width), (96, 1)), k=-turns)
    assert first.grey.shape == first.rgb.shape[:2] == expected.shape and opened.notes == []
    assert np.abs(first.grey - expected).mean() < 3 and np.abs(first.rgb - expected[..., None]).mean() < 5


@pytest.mark.parametrize("stretch", [None, Fraction(1)])
def test_square_pixels_are_not_touched(tmp_path, monkeypatch, stretch):
    path = write_video(tmp_path / "a.mp4", [rgb(RAMP)], stretch=stretch)
    monkeypatch.setattr(video.cv2, "resize", lambda *_, **__: pytest.fail("nothing is to be scaled"))
    assert next(open_video(path).frames(rgb=True)).rgb.shape == (*RAMP.shape, 3)


@pytest.mark.parametrize(
    ("stretch", "longest"), [(Fraction(20), 65_500), (Fraction(1, 20), 65_500), (Fraction(2), 200)]
)
def test_pixels_of_an_absurd_shape_are_taken_for_square_and_said(tmp_path, monkeypatch, stretch, longest):
    monkeypatch.setattr(video, "MAX_STILL_SIDE", longest)
    opened = open_video(write_video(tmp_path / "a.mp4", [rgb(RAMP)], stretch=stretch))
    assert [frame.grey.shape for frame in opened.frames()] == [RAMP.shape]
    assert opened.notes == [f"its pixels are told to be {stretch} times as wide as high: taken for square"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty"), (b"no video at all\n" * 99, "not a media file"), (None, "no such file")],
)
def test_what_is_no_video_is_named_with_its_reason(tmp_path, content, reason):
    path = tmp_path / "broken.mp4"
    if content is not None:
        path.write_bytes(content)
    for read in (open_video, lambda path: read_audio(path, sample_rate_hz=16000), read_image_grey):
        with pytest.raises(MediaError, match="broken.mp4") as caught:
            read(path)
        assert caught.value.path == path
    with pytest.raises(MediaError, match=reason):
        open_video(path)


def test_a_text_is_no_video_though_ffmpeg_would_draw_it(tmp_path):
    (tmp_path / "notes.txt").write_text("not a film\n" * 99)
    with pytest.raises(MediaError, match=r"notes.txt: not a media file \(text\)"):
        open_video(tmp_path / "notes.txt")


@pytest.mark.parametrize("name", ["http:127.0.0.1:9.mp4", "2026-01-01T12:30:00.mp4", "concat:a.mp4"])
def test_a_name_with_a_colon_is_a_file_not_a_protocol_of_ffmpeg(tmp_path, monkeypatch, name):
    write_video(tmp_path / "plain.mp4", [rgb(RAMP)] * 3).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    opened = open_video(name)
    assert len(list(opened.frames())) == 3 and opened.declared_s == pytest.approx(3 / 25)
    with pytest.raises(MediaError, match="no audio track"):
        read_audio(name, sample_rate_hz=8000)


def test_a_file_in_a_folder_that_may_not_be_entered_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "is_file", refuse)  # tests may run as root, whom no mode stops
    for read in (open_video, lambda path: read_audio(path, sample_rate_hz=16000), reading.read):
        with pytest.raises(MediaError, match="a.mp4: .*Permission denied"):
            read(tmp_path / "a.mp4")


def refuse(*_):
    raise PermissionError(errno.EACCES, "Permission denied")


def test_a_truncated_mp4_without_its_index_cannot_be_opened(tmp_path):
    path = write_video(tmp_path / "a.mp4", [rgb(RAMP)] * 20)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MediaError, match="a.mp4: not a media file, or broken"):
        open_video(path)


def test_a_file_that_breaks_in_the_middle_yields_what_comes_before_and_says_so(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (20, 96, 128, 3), dtype=np.uint8)
    path = write_video(tmp_path / "a.avi", noise, codec="mpeg4")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    opened = open_video(path)
    frames = list(opened.frames())
    assert 2 < len(frames) == opened.n_decoded < 20
    assert opened.notes and "declared" in " ".join(opened.notes)


def write_tone(path: Path, *, rate_hz: int, layout: str, seconds: float = 0.5) -> Path:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(rate_hz * seconds)) / rate_hz)
    n_channels = 2 if layout == "stereo" else 1
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=rate_hz, layout=layout)
        samples = np.repeat((tone * 32767).astype(np.int16)[None, :, None], n_channels, axis=2).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout=layout)
        frame.sample_rate = rate_hz
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("rate_hz", "layout"), [(16000, "mono"), (48000, "stereo"), (22050, "mono")])
def test_audio_is_mono_at_the_rate_asked_for(tmp_path, rate_hz, layout):
    sound = read_audio(write_tone(tmp_path / "a.wav", rate_hz=rate_hz, layout=layout), sample_rate_hz=16000)
    assert sound.dtype == np.float32 and sound.ndim == 1 and abs(len(sound) - 8000) <= 32
    spectrum = np.abs(np.fft.rfft(sound))
    assert abs(np.fft.rfftfreq(len(sound), 1 / 16000)[spectrum.argmax()] - 440) < 4
    assert np.isclose(np.abs(sound[1000:7000]).max(), 0.5, atol=0.01)


def test_a_video_without_sound_has_no_audio_to_read(tmp_path):
    path = write_video(tmp_path / "mute.mp4", [rgb(RAMP)] * 2)
    with pytest.raises(MediaError, match="mute.mp4: no audio track"):
        read_audio(path, sample_rate_hz=16000)
    with pytest.raises(MediaError, match="tone.wav: no video track"):
        open_video(write_tone(tmp_path / "tone.wav", rate_hz=16000, layout="mono"))


def save(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize(
    ("name", "mode"),
    [("a.png", "L"), ("a.png", "RGB"), ("a.png", "P"), ("a.png", "RGBA"), ("a.png", "LA")]
    + [("a.jpg", "CMYK"), ("a.tif", "CMYK"), ("a.bmp", "RGB"), ("a.webp", "RGB")],
)
def test_a_still_of_any_mode_is_the_same_grey(tmp_path, name, mode):
    image = Image.fromarray(RAMP).convert("RGB")
    image = image.quantize(256) if mode == "P" else image.convert(mode)
    grey = read_image_grey(save(tmp_path / name, image))
    assert grey.dtype == np.uint8 and grey.shape == RAMP.shape
    assert np.abs(grey.astype(int) - RAMP).mean() < 3


def test_a_16_bit_still_is_scaled_not_clipped(tmp_path):
    image = Image.fromarray(RAMP.astype(np.uint16) * 257)
    assert np.array_equal(read_image_grey(save(tmp_path / "a.png", image)), RAMP)


def test_a_transparent_still_lies_on_white(tmp_path):
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    assert (read_image_grey(save(tmp_path / "a.png", image)) == 255).all()


def test_exif_rotation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    grey = read_image_grey(save(tmp_path / "a.png", Image.fromarray(RAMP), exif=exif))
    assert np.array_equal(grey, np.rot90(RAMP, k=-1))


@pytest.mark.parametrize("orientation", [3, 5, 6, 8])
@pytest.mark.parametrize("mode", ["L", "I;16"])
def test_a_turned_grey_tiff_is_the_same_picture_as_a_png(tmp_path, mode, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(RAMP if mode == "L" else RAMP.astype(np.uint16) * 257)
    tiff, png = (save(tmp_path / name, picture, exif=exif) for name in ("a.tif", "a.png"))
    assert picture.mode == mode and np.array_equal(read_image_grey(tiff), read_image_grey(png))
    assert np.array_equal(reading.read(tiff).grey, reading.read(png).grey)


def test_a_damaged_still_is_named_whatever_pillow_raises(tmp_path):
    whole = save(tmp_path / "a.png", Image.fromarray(RAMP)).read_bytes()
    short = whole[:8] + struct.pack(">I", 11) + whole[12:]  # Truncated IHDR chunk
    for name, content in {"short.png": short, "head.pgm": b"P5\n4. 4\n255\n" + bytes(16)}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(MediaError, match=f"{name}: ") as caught:
            read_image_grey(tmp_path / name)
        assert caught.value.path == tmp_path / name


def test_a_ribbon_of_a_still_is_refused(tmp_path):
    for size in ((8_000_000, 1), (65_520, 20)):  # no JPEG can be so long
        path = save(tmp_path / "a.png", Image.new("L", size))
        for read in (read_image_grey, reading.read):
            with pytest.raises(MediaError, match=rf"a\.png: {size[0]}x{size[1]} pixels, a side of at most 65,500"):
                read(path)


def test_the_longest_still_can_be_written_as_jpeg(tmp_path):
    assert save(tmp_path / "a.jpg", Image.new("RGB", (video.MAX_STILL_SIDE, 2))).stat().st_size


def test_a_truncated_or_huge_still_is_refused(tmp_path, monkeypatch):
    path = save(tmp_path / "a.jpg", Image.fromarray(RAMP))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MediaError, match="truncated"):
        read_image_grey(path)
    path.write_bytes(whole)
    monkeypatch.setattr(video, "MAX_STILL_PIXELS", 1000)
    with pytest.raises(MediaError, match="128x96 pixels, at most 1000"):
        read_image_grey(path)
