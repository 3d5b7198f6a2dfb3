import json
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import av
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from emolib import cross_corpus, cross_plots, landmarks, recrop, runs, shipping, study
from emolib.predict.faces import loose
from emolib.video import open_video

pytestmark = pytest.mark.usefixtures("drawn_and_closed")
ROOT = Path(__file__).parents[1]
RATE_HZ, LENGTH = 20, 30
PEAKS = {"a_1": 21, "b_1": 9, "c_2": 25}  # clip -> frame of its apex


def made(peaks=PEAKS):
    """Frames of clips that rise from neutral (the last class) to their own class and fall again."""
    frames, posterior = [], []
    for number, (video, peak) in enumerate(peaks.items()):
        strength = 0.8 * np.exp(-((np.arange(LENGTH) - peak) ** 2) / 20)
        rows = np.full((LENGTH, 4), 0.05)
        rows[:, number % 3] += strength
        rows[:, 3] += 0.8 - strength
        posterior.append(rows)
        frames.append(pd.DataFrame({"video": video, "time_s": np.arange(LENGTH) / RATE_HZ, "label": number % 3}))
    frames = pd.concat(frames, ignore_index=True)
    return frames.assign(subject=frames["video"].str[-1]), np.concatenate(posterior)


def faces(n, seed=0):
    """68 points of n frames, in pixels."""
    rng = np.random.default_rng(seed)
    return (rng.uniform(100, 200, (1, 68, 2)) + rng.normal(0, 3, (n, 68, 2))).astype(np.float32)


# ---- the apex


def test_the_apex_in_posteriors_is_where_they_differ_most_from_the_beginning():
    frames, posterior = made()
    chosen = cross_corpus.apexes(frames, posterior, None)["posterior_change"]
    assert (chosen - np.arange(3) * LENGTH).tolist() == list(PEAKS.values())


def test_no_rule_reads_a_label():
    frames, posterior = made()
    points = faces(len(frames))
    blind = frames.drop(columns=["label", "subject"])
    for name, rows in cross_corpus.apexes(frames, posterior, points).items():
        assert (rows == cross_corpus.apexes(blind, posterior, points)[name]).all()


def test_the_apex_in_landmarks_is_where_the_mouth_opens_however_the_head_moves():
    frames, posterior = made()
    points = np.repeat(faces(1), len(frames), axis=0)
    strength = np.concatenate([np.exp(-((np.arange(LENGTH) - peak) ** 2) / 20) for peak in PEAKS.values()])
    points[:, 55:60, 1] += 20 * strength[:, None]
    angle, rng = np.linspace(-0.3, 0.3, len(frames)), np.random.default_rng(0)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]).transpose(2, 0, 1)
    moved = 1.3 * points @ turn + rng.uniform(-50, 50, (len(frames), 1, 2))
    for given_points in (points, moved):
        chosen = cross_corpus.apexes(frames, posterior, given_points, smooth_s=0)["landmark_change"]
        assert (chosen - np.arange(3) * LENGTH).tolist() == list(PEAKS.values())


def test_the_middle_is_that_of_the_frames_with_a_face():
    frames, posterior = made()
    kept = np.r_[0:7, LENGTH : 2 * LENGTH, 2 * LENGTH + 3 : 2 * LENGTH + 5]
    frames = frames.iloc[kept].reset_index(drop=True)
    assert cross_corpus.apexes(frames, posterior[kept], None)["middle"].tolist() == [3, 7 + 14, 7 + 30]


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.1, 0.25]), st.sampled_from([0.0, 0.2]))
@settings(max_examples=20, deadline=None)
def test_change_is_what_a_loop_over_frames_computes(seed, smooth_s, start_s):
    rng = np.random.default_rng(seed)
    frames, _ = made()
    kept = np.sort(rng.choice(len(frames), 40, replace=False))  # frames without a face are not there
    frames, values = frames.iloc[kept].reset_index(drop=True), rng.dirichlet(np.ones(4), 40)
    found = cross_corpus.change(values, frames, start_s=start_s, smooth_s=smooth_s, total=True)
    for video, rows in frames.groupby("video").indices.items():
        time = frames["time_s"].to_numpy()[rows]
        smooth = [values[rows][np.abs(time - t) <= smooth_s / 2 + 1e-6].mean(0) for t in time]
        start = np.mean([s for s, t in zip(smooth, time, strict=True) if t <= time[0] + start_s], axis=0)
        expected = [0.5 * np.abs(s - start).sum() for s in smooth]
        np.testing.assert_allclose(found[rows], expected, atol=1e-9, err_msg=video)
    assert (found >= 0).all() and (found <= 1 + 1e-12).all()


@pytest.mark.parametrize("shuffled", ["time", "video"])
def test_frames_out_of_order_are_refused(shuffled):
    frames, posterior = made()
    order = np.arange(len(frames))
    order[[3, 5 if shuffled == "time" else LENGTH + 5]] = order[[5 if shuffled == "time" else LENGTH + 5, 3]]
    with pytest.raises(ValueError, match="in the order of time"):
        cross_corpus.apexes(frames.iloc[order], posterior, None)


def test_where_a_frame_lies_in_its_clip():
    frames, _ = made()
    found = cross_corpus.place(frames, np.array([0, 2 * LENGTH - 1, 2 * LENGTH + 14]))
    np.testing.assert_allclose(found, [0, 1, 14 / 29])
    assert cross_corpus.place(frames.iloc[[4]], np.array([0])).tolist() == [0.5]
    cross_plots.apex_places({"middle": found, "other": found})


# ---- answers


def test_the_answers_of_a_clip_are_those_of_its_apex_or_the_mean_of_its_frames():
    frames, posterior = made()
    chosen = cross_corpus.apexes(frames, posterior, None)
    answers = cross_corpus.answers(frames, posterior, chosen)
    by_video = pd.DataFrame(posterior).groupby(frames["video"], sort=False).mean()
    np.testing.assert_allclose(answers["mean"], by_video.to_numpy())
    np.testing.assert_array_equal(answers["middle"], posterior[chosen["middle"]])
    assert cross_corpus.predicted(answers["posterior_change"], range(4)).tolist() == [0, 1, 2]


def test_matched_answers_are_among_the_classes_in_common():
    posterior = np.array([[0.1, 0.2, 0.7], [0.4, 0.5, 0.1]])
    assert cross_corpus.predicted(posterior, [0, 1]).tolist() == [1, 1]
    assert cross_corpus.predicted(posterior, range(3)).tolist() == [2, 1]


def test_labels_of_clips_in_the_classes_of_the_classifier():
    fer = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    given_names = {"video_classes": ("disgust", "happy", "fear", "anger", "surprise", "sad"), "label_space": "pedfe6"}
    assert cross_corpus.match([5, 0, 3], classes=fer, **given_names).tolist() == [4, 1, 0]
    assert cross_corpus.match([0, 1], classes=("happy", "neutral"), **given_names).tolist() == [-1, 0]


@pytest.fixture(scope="module")
def many():
    """Answers of two rules to 80 clips of 10 people, one rule better than the other."""
    rng = np.random.default_rng(1)
    true = np.arange(80) % 3
    good = 0.6 * np.eye(4)[true] + rng.dirichlet(np.ones(4), 80)
    answers = {"middle": rng.dirichlet(np.ones(4), 80), "posterior_change": good / good.sum(1, keepdims=True)}
    clips = pd.DataFrame({"video": np.arange(80), "subject": [f"p{k % 10}" for k in range(80)], "label": true})
    return answers, clips.assign(posed=np.arange(80) % 4 < 2, sex=np.where(np.arange(80) % 10 < 1, "m", "f")), true


def test_scores_are_those_of_scikit_learn_for_every_part(many):
    answers, clips, true = many
    table = cross_corpus.scores(answers, clips, true, matched=[0, 1, 2], n_resamples=200)
    assert set(table["clips"]) == {"all", "posed", "genuine", "f"}  # one man gives no interval
    for row in table.itertuples():
        part = {"posed": clips["posed"], "genuine": ~clips["posed"], "f": clips["sex"] == "f"}
        rows = part.get(row.clips, clips["posed"] | True).to_numpy()
        columns = [0, 1, 2] if row.answer == "matched" else [0, 1, 2, 3]
        predicted = answers[row.rule][:, columns].argmax(1)[rows]
        assert row.accuracy == pytest.approx(metrics.accuracy_score(true[rows], predicted)) and row.n == rows.sum()
        assert row.uar == pytest.approx(metrics.recall_score(true[rows], predicted, labels=[0, 1, 2], average="macro"))
        assert row.accuracy_low <= row.accuracy <= row.accuracy_high and row.chance == pytest.approx(1 / len(columns))


def test_a_better_rule_is_told_from_the_middle_frame(many):
    answers, clips, true = many
    answers = answers | {"same": answers["middle"]}
    table = cross_corpus.against(answers, true, clips["subject"].to_numpy(), matched=[0, 1, 2]).set_index("rule")
    assert table.loc["posterior_change", "difference"] > 0.2 and table.loc["posterior_change", "p_holm"] < 0.01
    assert table.loc["same", "difference"] == 0 and table.loc["same", "p_holm"] == 1


# ---- faces cut again


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A clip whose picture differs from frame to frame."""
    path = tmp_path_factory.mktemp("clip") / "x.avi"
    rng = np.random.default_rng(0)
    still = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE_HZ)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number in range(12):
            frame = av.VideoFrame.from_ndarray(np.roll(still, 9 * number, axis=1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("crop", recrop.TRANSFORMS)
def test_faces_are_cut_from_their_own_frames(clip, crop):
    rows = pd.DataFrame({"source": clip.name, "frame": [1, 4, 11]})
    points = faces(3)
    found = recrop.cut_again(rows, points, clip.parent, crop=crop, workers=1)
    greys = {frame.index: frame.grey for frame in open_video(clip).frames()}
    transform = {"aligned": landmarks.align, "loose": loose}[crop]
    for one, number, own in zip(found, rows["frame"], points, strict=True):
        assert (one == landmarks.crop(greys[number], transform(own), size_px=48)).all()
    assert len({one.tobytes() for one in found}) == 3


def test_a_clip_that_became_shorter_is_an_error(clip):
    rows = pd.DataFrame({"source": clip.name, "frame": [1, 99]})
    with pytest.raises(ValueError, match=r"x\.avi: frame 99 could not be decoded"):
        recrop.cut_again(rows, faces(2), clip.parent, crop="loose", workers=1)
    with pytest.raises(ValueError, match="crop: 'tight' received"):
        recrop.cut_again(rows, faces(2), clip.parent, crop="tight")


@pytest.mark.parametrize("crop", ["", *recrop.TRANSFORMS])
def test_notebook_15_cuts_as_its_parameter_says_whatever_the_weights_ask_for(monkeypatch, crop):
    def cut_again(frames, points, root, *, crop):
        return crop

    cells = json.loads((ROOT / "notebooks/15_cross_corpus.ipynb").read_text("utf-8"))["cells"]
    monkeypatch.setattr(recrop, "cut_again", cut_again)
    opened = SimpleNamespace(open_corpus=lambda *_, **__: SimpleNamespace(root="root"))
    known = {"run": Mock(), "stages": opened, "recrop": recrop, "cut_again": crop, "guide": "", "views": 1}
    known["frames"] = pd.DataFrame({"sample": [0]})
    known["store"] = Mock(array=lambda name: np.array(["stored"]))
    known["classifier"] = Mock(crop="aligned", needs_guide=False)
    exec("".join(next(cell["source"] for cell in cells if cell["id"] == "15-06")), known)
    assert known["images"] == (crop or "stored")


def test_the_loose_variant_of_the_study_is_loose():
    jobs = {job.name: job.params for job in study.load(ROOT / "params/cross_corpus.yaml").jobs}
    assert jobs["cross_corpus/seven_loose"]["cut_again"] == "loose"


# ---- which weights


@pytest.mark.parametrize(("pretrained", "weights"), [("", ""), ("a/b", "seven")])
def test_exactly_one_of_run_and_weights_is_named(pretrained, weights):
    with pytest.raises(ValueError, match="exactly one"):
        shipping.open_weights(None, pretrained=pretrained, weights=weights)


def test_weights_of_another_study_are_found_among_the_runs(tmp_path, monkeypatch):
    import made_classifiers

    monkeypatch.setenv("EMOLIB_ROOT", str(tmp_path))
    folder = runs.data_root() / "runs" / "study" / "classifier" / "main"
    folder.mkdir(parents=True)
    made_classifiers.save(folder / "weights.safetensors")
    found = shipping.open_weights(None, pretrained="", weights="study/classifier/main")
    assert found.path == folder / "weights.safetensors"
