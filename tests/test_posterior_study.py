"""What an untrained model says: accuracies against hand-counted ones, examples chosen without looking at results."""

import numpy as np
import pandas as pd
import pytest

from emolib import posterior_study


@pytest.fixture
def frames():
    """3 subjects x 3 classes, one video each, 4 frames a video."""
    rows = [(f"{s}-{c}", f"s{s}", c, t) for s in range(3) for c in range(3) for t in range(4)]
    return pd.DataFrame(rows, columns=["video", "subject", "label", "frame"]).assign(time_s=lambda t: t["frame"] / 10)


def posterior_of(frames, *, wrong_frames):
    """Sure of the right class, but of the next one in the first `wrong_frames` frames of every video."""
    answer = np.where(frames["frame"] < wrong_frames, (frames["label"] + 1) % 3, frames["label"])
    return np.eye(3, dtype=np.float32)[answer] * 0.7 + 0.1


@pytest.mark.parametrize(("wrong_frames", "of_frames", "of_videos"), [(0, 1.0, 1.0), (1, 0.75, 1.0), (3, 0.25, 0.0)])
def test_accuracy_of_frames_and_videos(frames, wrong_frames, of_frames, of_videos):
    table = posterior_study.untrained_accuracy(
        frames, frames["label"].to_numpy(), posterior_of(frames, wrong_frames=wrong_frames), seed=0
    )
    plain = table[table["posterior"] == "as it is"].set_index("judged")
    assert plain["accuracy"].to_dict() == {"frames": of_frames, "videos, majority": of_videos, "videos, auc": of_videos}
    assert plain["n"].to_dict() == {"frames": 36, "videos, majority": 9, "videos, auc": 9}
    assert np.allclose(table["chance"], 1 / 3) and (table["low"] <= table["accuracy"]).all()


def test_zscoring_takes_a_constant_preference_away(frames):
    favoured = posterior_of(frames, wrong_frames=0) + np.array([2.0, 0, 0], dtype=np.float32)
    table = posterior_study.untrained_accuracy(frames, frames["label"].to_numpy(), favoured, seed=0)
    by = table[table["judged"] == "frames"].set_index("posterior")["accuracy"]
    assert by["as it is"] == pytest.approx(1 / 3) and by["z-scored"] == 1.0


@pytest.mark.parametrize("n", [1, 2, 3, 7, 9, 20])
def test_examples_are_distinct_and_of_different_classes_first(frames, n):
    chosen = posterior_study.example_videos(frames, n=n)
    assert len(chosen) == len(set(chosen)) == min(n, 9)
    classes = [video.split("-")[1] for video in chosen[: min(n, 3)]]
    assert n > 3 or len(set(classes)) == len(classes)


def test_per_video_means_and_columns(frames):
    table = posterior_study.per_video(frames, frames["frame"].to_numpy(), columns=["subject"])
    assert len(table) == 9 and (table["score"] == 1.5).all() and table.loc["2-1", "subject"] == "s2"


def test_of_video_gives_its_own_rows_and_the_truth_only_where_known(frames):
    posterior = posterior_of(frames, wrong_frames=1)
    one = posterior_study.of_video(frames, posterior, frames["label"].to_numpy(), "1-2", classes=["a", "b", "c"])
    assert one["own"] == "c" and "true_intensity" not in one
    np.testing.assert_array_equal(one["posterior"], posterior[(frames["video"] == "1-2").to_numpy()])
    known = frames.assign(true_intensity=frames["time_s"])
    one = posterior_study.of_video(known, posterior, frames["label"].to_numpy(), "1-2", classes=["a", "b", "c"])
    np.testing.assert_allclose(one["true_intensity"], [0, 0.1, 0.2, 0.3])
