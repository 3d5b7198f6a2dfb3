"""The embedded corpus: its files, its determinism, its truth, and how a detector trained on real faces sees it."""

import importlib.util
import json
from pathlib import Path

import av
import cv2
import dlib
import numpy as np
import pandas as pd
import pytest

from emolib import corpora, labels
from emolib.corpora import ravdess, synthetic
from emolib.corpora.ravdess import INTENSITIES, STATEMENTS
from emolib.render import ACTION_UNITS, AU_COLUMNS, Pose, identity, produce, render_still
from emolib.render.clip import LANDMARK_COLUMNS
from emolib.render.dynamics import PROTOTYPES, intensity_curve, perform
from emolib.render.identity import generator
from emolib.render.plan import STILL_SHARES, class_counts, still_table
from emolib.render.shape import MIRROR, TEMPLATE, move
from emolib.render.voice import SAMPLE_RATE_HZ, synthesise

SMALL = {"n_subjects": 2, "emotions": ("neutral", "happy", "fearful"), "duration_s": 0.8, "n_stills": 40, "seed": 7}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("synthetic") / "corpus"
    summary = synthetic.generate(root, **SMALL, workers=1, progress=False)
    return root, summary


def contents(root):
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def test_bytes_do_not_depend_on_the_number_of_workers(corpus, tmp_path):
    again = synthetic.generate(tmp_path / "again", **SMALL, workers=2, progress=False)
    assert again == corpus[1]
    assert contents(tmp_path / "again") == contents(corpus[0])


def test_another_seed_gives_other_pictures_and_sound(corpus, tmp_path):
    few = SMALL | {"n_subjects": 1, "emotions": ("happy",), "intensities": (1,), "n_stills": 3, "seed": 8}
    synthetic.generate(tmp_path / "other", **few, workers=1, progress=False)
    mine, other = contents(corpus[0]), contents(tmp_path / "other")
    for name in ("Actor_01/01-01-03-01-01-01-01.mp4", "stills/000000.jpg"):
        assert mine[name] != other[name]


def test_names_are_ravdess_names_and_neutral_has_no_strong(corpus):
    scanned = corpora.scan("synthetic", corpus[0])
    assert scanned.label_space == "ravdess8" and scanned.kind == "video" and len(scanned.sources) == 10
    for row in scanned.sources.itertuples():
        modality, channel, emotion, intensity, statement, repetition, actor = map(int, row.video.split("-"))
        assert (modality, channel, emotion - 1) == (1, 1, row.label)
        assert (row.intensity, row.statement) == (INTENSITIES[intensity], STATEMENTS[statement])
        assert (row.repetition, row.modality, row.channel) == (repetition, "audio_video", "speech")
        assert row.source == f"Actor_{actor:02d}/{row.video}.mp4" and row.subject == f"{actor:02d}"
        assert row.emotion == labels.names("ravdess8")[row.label] and row.sex == ("male" if actor % 2 else "female")
    assert set(scanned.sources.loc[scanned.sources["label"] == 0, "intensity"]) == {"normal"}
    assert set(scanned.sources["source"]).isdisjoint(scanned.excluded["source"])


def test_the_reader_of_ravdess_says_the_same_of_the_same_files(corpus):
    as_embedded = corpora.scan("synthetic", corpus[0]).sources
    as_ravdess = ravdess.scan(corpus[0]).sources
    pd.testing.assert_frame_equal(as_embedded, as_ravdess, check_like=True)


def test_truth_has_a_row_for_each_decoded_frame(corpus):
    root, summary = corpus
    truth = pd.read_parquet(root / "truth.parquet")
    assert {"video", "frame", "time_s", "true_intensity", "blink", *AU_COLUMNS, *LANDMARK_COLUMNS} <= set(truth.columns)
    assert len(truth) == summary["n_frames"] == len(corpora.scan("synthetic", root).frame_truth)
    for row in corpora.scan("synthetic", root).sources.itertuples():
        own = truth[truth["video"] == row.video]
        with av.open(str(root / row.source)) as container:
            assert container.streams.video[0].codec_context.name == "h264" and len(container.streams.audio) == 1
            times = [float(frame.time) for frame in container.decode(video=0)]
        np.testing.assert_array_equal(own["frame"], np.arange(len(times)))
        np.testing.assert_allclose(own["time_s"], times, atol=1e-3)
    assert truth["true_intensity"].between(0, 1).all()
    assert truth[list(AU_COLUMNS)].stack().between(0, 5).all()


def test_intensity_begins_and_ends_near_zero_and_is_one_in_neutral(corpus):
    scanned = corpora.scan("synthetic", corpus[0])
    curves = scanned.frame_truth.groupby("video")["true_intensity"]
    for row in scanned.sources.itertuples():
        curve = curves.get_group(row.video).to_numpy()
        if row.emotion == "neutral":
            assert (curve == 1).all()
        else:
            assert curve[0] < 0.1 and curve[-1] < 0.1 and curve.max() > 0.5


def test_strong_peaks_higher_than_normal():
    time_s = np.arange(60) / 30
    peaks = {s: [intensity_curve(generator(k, "x"), time_s, strong=s).max() for k in range(30)] for s in (False, True)}
    assert np.mean(peaks[True]) > np.mean(peaks[False]) + 0.15


@pytest.mark.parametrize(("n", "noise"), [(700, 0.1), (701, 0.25), (40, 0.0), (30, 1.0)])
def test_label_noise_and_class_sizes_of_stills_are_exact(n, noise):
    stills = still_table(n_stills=n, label_noise=noise, seed=3)
    assert stills["label_is_wrong"].sum() == round(noise * n)
    np.testing.assert_array_equal(stills["label"] != stills["true_label"], stills["label_is_wrong"])
    counts = np.bincount(stills["true_label"], minlength=7)
    np.testing.assert_array_equal(counts, class_counts(n))
    assert np.abs(counts - n * np.array([STILL_SHARES[c] for c in labels.names("affectnet7")])).max() < 1
    assert not set(stills.loc[stills["split"] == "train", "subject"]) & set(
        stills.loc[stills["split"] == "validation", "subject"]
    )


def test_stills_show_other_people_than_the_videos(corpus):
    stills, videos = corpora.scan("synthetic_stills", corpus[0]), corpora.scan("synthetic", corpus[0])
    assert stills.label_space == "affectnet7" and stills.kind == "still" and len(stills.sources) == 40
    assert not set(stills.sources["subject"]) & set(videos.sources["subject"])
    assert cv2.imread(str(corpus[0] / stills.sources["source"][0])).shape == (240, 240, 3)


def sight():
    """dlib's detector, and its 68-point predictor from the file beside the installed package."""
    folder = importlib.util.find_spec("face_recognition_models").submodule_search_locations[0]
    predictor = dlib.shape_predictor(str(Path(folder) / "models" / "shape_predictor_68_face_landmarks.dat"))
    return dlib.get_frontal_face_detector(), predictor


def test_dlib_finds_the_faces_and_their_landmarks():
    detect, predict = sight()
    errors, found, n = {emotion: [] for emotion in PROTOTYPES}, 0, 0
    for number in range(6):
        who = identity(11, f"{number}", female=number % 2 == 1)
        for emotion, units in PROTOTYPES.items():
            random = generator(11, number, emotion)
            pose = Pose(120 + random.normal(0, 3), 103, random.uniform(58, 66), *random.normal(0, [0.04, 0.06, 0.04]))
            image, landmarks, _ = render_still(who, units, pose=pose, light=random.uniform(0.75, 1.12), seed=number)
            boxes, n = detect(image, 0), n + 1
            if len(boxes) == 1:
                found += 1
                seen = np.array([(p.x, p.y) for p in predict(image, boxes[0]).parts()])
                apart = np.linalg.norm(landmarks[36] - landmarks[45])
                errors[emotion].append(np.linalg.norm(seen - landmarks, axis=1) / apart)
    assert found >= 0.99 * n
    assert np.median(np.concatenate([np.concatenate(e) for e in errors.values()])) < 0.05
    for emotion, apexes in errors.items():
        assert np.median(apexes) < 0.05, emotion


def test_dlib_finds_the_face_in_the_frames_of_a_clip(corpus):
    detect, _ = sight()
    frames = []
    for row in corpora.scan("synthetic", corpus[0]).sources.itertuples():
        with av.open(str(corpus[0] / row.source)) as container:
            frames += [frame.to_ndarray(format="gray") for frame in container.decode(video=0)][::3]
    assert sum(len(detect(frame, 0)) == 1 for frame in frames) >= 0.99 * len(frames)


def test_action_units_move_what_they_name():
    def moved(unit):
        au = np.zeros(len(ACTION_UNITS))
        au[ACTION_UNITS.index(unit)] = 5
        return move(TEMPLATE, au) - move(TEMPLATE, np.zeros(len(ACTION_UNITS)))

    assert moved(1)[[21, 22], 1].max() < -0.05  # inner brows rise
    assert moved(4)[[21, 22], 1].min() > 0.03 and moved(4)[21, 0] > 0 > moved(4)[22, 0]  # fall and approach
    assert moved(12)[[48, 54], 1].max() < -0.05 and moved(15)[[48, 54], 1].min() > 0.05  # corners of the mouth
    assert moved(26)[66, 1] > 0.1 and moved(26)[8, 1] > 0.05  # the jaw drops
    for unit in ACTION_UNITS:
        shift = moved(unit)
        assert np.abs(shift).max() > 0.005 or unit in (14,)
        np.testing.assert_allclose(shift[MIRROR] * [-1, 1], shift, atol=1e-9)
    shut = move(TEMPLATE, np.eye(len(ACTION_UNITS))[ACTION_UNITS.index(45)] * 5)
    assert 0 < (shut[[41, 40, 47, 46], 1] - shut[[37, 38, 43, 44], 1]).max() < 0.03


def test_render_still_names_an_unknown_action_unit():
    with pytest.raises(ValueError, match=r"action units \[3\] are unknown"):
        render_still(identity(0, "a", female=True), {3: 1.0})


def pitch_hz(sound):
    """Pitch of the loudest 64 ms by autocorrelation: an independent route to what the voice was asked for."""
    size = 1024
    starts = range(0, len(sound) - size, 256)
    at = max(starts, key=lambda k: float(np.square(sound[k : k + size]).sum()))
    part = sound[at : at + size] - sound[at : at + size].mean()
    correlation = np.correlate(part, part, "full")[size - 1 :] / np.arange(size, 0, -1)
    low, high = SAMPLE_RATE_HZ // 450, SAMPLE_RATE_HZ // 75
    lags = np.arange(low, high)
    peak = correlation[low:high].max()
    return SAMPLE_RATE_HZ / lags[np.argmax(correlation[low:high] > 0.9 * peak) :][0]


def voice(name, female, emotion):
    who = identity(5, name, female=female)
    random = generator(5, name, emotion)
    size = {"frame_rate_hz": 30, "width_px": 320, "height_px": 240}
    motion = perform(random, who, emotion, strong=True, statement=1, length_s=2.0, **size)
    return motion.speech, synthesise(random, who, motion.speech, length_s=2.0)


def test_pitch_energy_and_rate_follow_sex_and_emotion():
    names = range(6)
    median = {
        (female, emotion): np.median([pitch_hz(voice(str(n), female, emotion)[1]) for n in names])
        for female in (False, True)
        for emotion in ("neutral", "fearful", "sad")
    }
    assert 90 < median[False, "neutral"] < 150 < 170 < median[True, "neutral"] < 250
    for female in (False, True):
        assert median[female, "fearful"] > 1.15 * median[female, "neutral"] > 1.15 * median[female, "sad"]
    loud = {e: np.mean([np.square(voice(str(n), True, e)[1]).mean() for n in names]) for e in ("sad", "angry")}
    long = {e: np.mean([np.ptp(voice(str(n), True, e)[0].end_s) for n in names]) for e in ("sad", "fearful")}
    assert loud["angry"] > 2 * loud["sad"] and long["fearful"] < 0.9 * long["sad"]


def test_sound_track_carries_the_voice(corpus):
    pitches = {}
    for actor in ("01", "02"):
        with av.open(str(corpus[0] / f"Actor_{actor}/01-01-01-01-01-01-{actor}.mp4")) as container:
            assert container.streams.audio[0].codec_context.name == "aac"
            pitches[actor] = pitch_hz(np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)]))
    assert pitches["02"] > 1.3 * pitches["01"]


def test_the_same_corpus_is_left_alone_and_another_refused(corpus):
    root, summary = corpus
    before = {file: file.stat().st_mtime_ns for file in root.rglob("*")}
    assert synthetic.generate(root, **SMALL, workers=1, progress=False) == summary
    assert before == {file: file.stat().st_mtime_ns for file in root.rglob("*")}
    with pytest.raises(FileExistsError, match="seed: 7 there, 8 asked for"):
        synthetic.generate(root, **SMALL | {"seed": 8}, progress=False)


def test_a_foreign_folder_is_never_replaced(tmp_path):
    (tmp_path / "holiday.mp4").write_bytes(b"mine")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match=r"no embedded corpus"):
            synthetic.generate(tmp_path, **SMALL, overwrite=overwrite, progress=False)
    assert contents(tmp_path) == {"holiday.mp4": b"mine"}


def test_interruption_leaves_nothing_half_written(tmp_path, monkeypatch):
    written = []

    def interrupted(*_, **__):
        written.extend(tmp_path.rglob("*.mp4"))
        raise KeyboardInterrupt

    monkeypatch.setattr(produce, "_write_still", interrupted)
    with pytest.raises(KeyboardInterrupt):
        synthetic.generate(
            tmp_path / "c", **SMALL | {"n_subjects": 1, "emotions": ("happy",)}, workers=1, progress=False
        )
    assert written and not list(tmp_path.iterdir())


def test_a_cut_file_is_found(corpus, tmp_path):
    few = {"n_subjects": 1, "emotions": ("neutral",), "duration_s": 0.5, "n_stills": 1}
    synthetic.generate(tmp_path / "c", **few, workers=1, progress=False)
    assert json.loads((tmp_path / "c/corpus.json").read_text())["parameters"]["n_stills"] == 1
    (tmp_path / "c/stills/000000.jpg").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="000000.jpg is missing or cut"):
        synthetic.scan(tmp_path / "c")


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_subjects": 0},
        {"emotions": ("joy",)},
        {"emotions": ()},
        {"intensities": (3,)},
        {"statements": (1, 1)},
        {"height_px": 241},
        {"still_label_noise": 1.5},
        {"duration_s": 0.1},
        {"workers": 0},
    ],
)
def test_a_parameter_out_of_range_is_named(tmp_path, wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}=.*allowed"):
        synthetic.generate(tmp_path / "c", **wrong)
    assert not (tmp_path / "c").exists()
