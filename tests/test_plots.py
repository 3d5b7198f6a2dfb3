"""Figures: the data, labels and units that are on them (not pixels)."""

import matplotlib

matplotlib.use("Agg")

import cv2
import matplotlib.colors as mcolors
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from emolib import evaluation, filters, labels, palette, plots

CLASSES = labels.names("ravdess8")


pytestmark = pytest.mark.usefixtures("drawn_and_closed")


def ticks(axis):
    return [text.get_text() for text in axis.get_ticklabels()]


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_every_class_of_every_space_has_a_look_and_none_is_used_twice_in_a_space():
    for space in labels.SPACES.values():
        looks = [palette.look(name) for name in space.classes]
        for part in zip(*looks, strict=True):  # colour, line style, marker: each tells the classes apart alone
            assert len(set(part)) == len(space)
    assert palette.look("angry") is palette.look("ang") is palette.look("anger")
    with pytest.raises(ValueError, match="'joy'"):
        palette.look("joy")


# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def seen(color, vision):
    """CIELAB of a colour as somebody with this vision sees it."""
    rgb = np.array(mcolors.to_rgb(color))
    linear = np.clip(VISION[vision] @ np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4), 0, 1)
    rgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return cv2.cvtColor(rgb.astype(np.float32)[None, None], cv2.COLOR_RGB2LAB)[0, 0]


@pytest.mark.parametrize("vision", VISION)
def test_colours_of_a_space_are_told_apart_by_every_kind_of_colour_vision(vision):
    for space in labels.SPACES.values():
        colors = [seen(palette.look(name).color, vision) for name in space.classes]
        assert min(np.linalg.norm(a - b) for k, a in enumerate(colors) for b in colors[:k]) > 12  # CIE76 difference
        assert max(color[0] for color in colors) < 80  # lightness: seen on the white page


def test_contact_sheet_puts_every_image_in_its_place():
    images = np.stack([np.full((48, 48), 10 * k, np.uint8) for k in range(7)])
    ax = plots.contact_sheet(images, [f"t{k}" for k in range(7)], columns=3, title="Seven faces")
    sheet = ax.images[0].get_array()
    assert [text.get_text() for text in ax.texts] == [f"t{k}" for k in range(7)]
    for k, text in enumerate(ax.texts):
        x, y = (int(v) for v in text.get_position())
        assert sheet[y + 20, x] == 10 * k  # below its title
        assert (sheet == 10 * k).sum() == 48 * 48
    assert ax.get_title() == "Seven faces"
    assert plots.contact_sheet(images[:2], columns=9).images[0].get_array().shape == (48, 98)
    assert plots.contact_sheet(np.zeros((2, 48, 48, 3), np.uint8)).images[0].get_array().shape == (48, 98, 3)


def test_posterior_over_time_draws_each_class_the_own_one_thick_truth_and_kept_frames():
    time_s = np.arange(20) / 30
    posterior = np.random.default_rng(0).dirichlet(np.ones(8), 20)
    posterior[5] = np.nan
    keep = np.arange(20) % 2 == 0
    ax = plots.posterior_over_time(time_s, posterior, CLASSES, own="sad", true_intensity=time_s, keep=keep)
    assert legend(ax) == ["true intensity", *[f"{c} (own class)" if c == "sad" else c for c in CLASSES], "frame kept"]
    for name, line, column in zip(CLASSES, ax.lines, posterior.T, strict=False):
        np.testing.assert_array_equal(line.get_ydata(), column)
        assert line.get_color() == palette.look(name).color
    widths = [line.get_linewidth() for line in ax.lines[:8]]
    assert np.argmax(widths) == 3 and sorted(widths)[-2] < widths[3]
    np.testing.assert_array_equal(ax.lines[8].get_xdata(), time_s[keep])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time (s)", "posterior (0..1)")
    assert ax.get_ylim()[0] < 0 and ax.get_ylim()[1] >= 1
    assert len(plots.posterior_over_time(time_s, posterior, CLASSES).lines) == 8


@pytest.fixture
def frames():
    """Three subjects, a video of 5 frames a class each, the last subject without the last class."""
    video = np.arange(3 * 8 - 1)
    table = pd.DataFrame({"video": [f"v{v}" for v in video], "subject": [f"{v // 8:02d}" for v in video]})
    table["label"] = video % 8
    return table.loc[table.index.repeat(5)].assign(face_ok=True).reset_index(drop=True)


@pytest.mark.parametrize(("unit", "factor"), [("frames", 5), ("videos", 1)])
def test_class_counts(frames, unit, factor):
    ax = plots.class_counts(frames, CLASSES, unit=unit)
    assert [bar.get_height() for bar in ax.patches] == [3 * factor] * 7 + [2 * factor]
    assert ticks(ax.xaxis) == list(CLASSES) and ax.get_ylabel() == f"number of {unit}"
    assert mcolors.to_hex(ax.patches[4].get_facecolor()).upper() == palette.look("angry").color


@pytest.mark.parametrize(("unit", "factor"), [("frames", 5), ("videos", 1)])
def test_subject_counts(frames, unit, factor):
    ax = plots.subject_counts(frames, CLASSES, unit=unit)
    written = [int(text.get_text()) for text in ax.texts]
    assert written == [factor] * 23 + [0]
    assert ticks(ax.yaxis) == ["00", "01", "02"] and ticks(ax.xaxis) == list(CLASSES)


def test_kept_per_class_shows_shares_counts_and_emptied_videos(frames):
    score = np.where(frames["label"] == 2, 0.1, np.linspace(0.3, 1, len(frames)))
    account = filters.select("threshold", frames, score, threshold=0.25).account
    ax = plots.kept_per_class(account, CLASSES)
    assert [bar.get_height() for bar in ax.patches] == [1, 1, 0, 1, 1, 1, 1, 1]
    notes = [text.get_text() for text in ax.texts]
    assert notes[2] == "0 of\n15\n3 of 3\nvideos empty" and notes[7] == "10 of\n10"
    ax.figure.canvas.draw()
    assert ax.get_ylabel() == "frames kept (%)" and ticks(ax.yaxis)[-1].startswith("100")


def test_score_against_truth_draws_both_kinds_and_the_auc():
    shows = np.arange(400) % 4 > 0
    score = np.clip(np.random.default_rng(0).normal(0.4 + 0.2 * shows, 0.2), 0, 1)
    left, right = plots.score_against_truth(score, shows)
    assert set(legend(left)) == {"shows its label (300 frames)", "does not show it (100 frames)"}
    auc = evaluation.filter_quality(shows, score, shows)["auc"]
    assert f"AUC {auc:.3f}" in right.get_title()
    curve = right.lines[0]
    assert np.trapezoid(curve.get_ydata(), curve.get_xdata()) == pytest.approx(auc)
    assert "(%)" in right.get_xlabel() and "(%)" in left.get_ylabel()


def test_training_curves_draw_losses_and_mark_the_best_epoch():
    history = pd.DataFrame({"epoch": [1, 2, 3], "train_loss": [2, 1, 0.5], "validation_loss": [2, 1.5, 1.6]})
    histories = {f"fold{k}": history.assign(validation_accuracy=[0.2, 0.5 + k / 10, 0.4]) for k in range(3)}
    left, right = plots.training_curves(histories)
    assert legend(right) == ["fold0", "fold1", "fold2"] and legend(left) == ["training", "validation"]
    assert len([line for line in left.lines if len(line.get_xdata())]) == 6
    np.testing.assert_array_equal(left.lines[1].get_ydata(), [2, 1.5, 1.6])
    assert [line.get_markevery() for line in right.lines] == [[1]] * 3
    assert len({line.get_linestyle() + line.get_marker() for line in right.lines}) == 3
    assert (left.get_xlabel(), left.get_ylabel(), right.get_ylabel()) == (
        *("epoch", "loss (nats)", "validation accuracy (%)"),
    )


def test_filter_curve_draws_a_line_a_metric_with_its_intervals():
    rows = [
        {"strength": q, "metric": m, "value": 0.5 + q / 1000, "low": 0.4, "high": 0.7}
        for m in ("frame accuracy", "video accuracy")
        for q in (50, 0, 25)  # unsorted on purpose
    ]
    ax = plots.filter_curve(pd.DataFrame(rows), strength_label="percentile (%)")
    assert legend(ax) == ["frame accuracy", "video accuracy"]
    for bars in ax.containers:
        line, _, (spans,) = bars
        np.testing.assert_allclose(line.get_ydata().astype(float), [0.5, 0.525, 0.55])
        np.testing.assert_allclose([s[:, 1] for s in spans.get_segments()], [[0.4, 0.7]] * 3)
        np.testing.assert_allclose(line.get_xdata().astype(float), [0, 25, 50], atol=1)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("percentile (%)", "accuracy (%)")
    single = plots.filter_curve(pd.DataFrame(rows[:3]).drop(columns="metric"), strength_label="percentile (%)")
    assert single.get_legend() is None and len(single.containers) == 1


@pytest.mark.parametrize("normalise", [None, "true"])
def test_confusion_matrix_writes_counts_or_percent(normalise):
    true, predicted = np.array([0, 0, 0, 0, 1, 2]), np.array([0, 0, 0, 1, 1, 0])
    matrix = evaluation.confusion(true, predicted, n_classes=3, normalise=normalise)
    ax = plots.confusion_matrix(matrix, ["neutral", "positive", "negative"])
    expected = [3, 1, 0, 0, 1, 0, 1, 0, 0] if normalise is None else [75, 25, 0, 0, 100, 0, 100, 0, 0]
    assert [int(text.get_text()) for text in ax.texts] == expected
    np.testing.assert_allclose(ax.collections[0].get_array().ravel()[:3], [75, 25, 0])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")
    assert ("samples" if normalise is None else "%") in ax.get_title()


def test_intervals_puts_the_best_on_top_and_marks_the_baseline():
    table = pd.DataFrame({"variant": ["all", "q35", "published"], "value": [0.5, 0.6, 0.55]})
    table = table.assign(low=[0.4, 0.5, np.nan], high=[0.6, 0.7, np.nan])
    ax = plots.intervals(table, baseline="all")
    assert ticks(ax.yaxis) == ["all", "published", "q35"]  # y grows upwards
    spans = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) == 2 and line.get_linestyle() == "-"]
    np.testing.assert_allclose(spans, [[0.4, 0.6], [0.5, 0.7]])
    dashed = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert dashed[0].get_xdata() == [0.5, 0.5] and legend(ax) == ["baseline: all"]
    markers = {float(line.get_xdata()[0]): line.get_marker() for line in ax.lines if len(line.get_xdata()) == 1}
    assert markers == {0.5: "s", 0.55: "D", 0.6: "o"}
    assert ax.get_xlabel() == "video accuracy (%)"


def test_calibration_of_a_calibrated_model_lies_on_the_diagonal():
    rng = np.random.default_rng(0)
    posterior = rng.dirichlet(np.ones(3), 20_000)
    true = (rng.random((20_000, 1)) > posterior.cumsum(axis=1)).sum(axis=1)
    overconfident = posterior**3 / (posterior**3).sum(axis=1, keepdims=True)
    ax = plots.calibration(true, {"calibrated": posterior, "overconfident": overconfident}, n_bins=5)
    assert legend(ax) == ["perfect", "calibrated", "overconfident"]
    np.testing.assert_allclose(ax.lines[1].get_ydata(), ax.lines[1].get_xdata(), atol=0.03)
    assert (ax.lines[2].get_ydata() < ax.lines[2].get_xdata()).all() and len(ax.lines[2].get_xdata()) == 5


def test_scatter_with_interval_says_the_correlation_and_looks_like_the_emotions():
    x = np.arange(12) / 12
    interval = evaluation.spearman_interval(x, x, np.arange(12) % 4, n_resamples=20)
    names = [["happy", "sad"][k % 2] for k in range(12)]
    ax = plots.scatter_with_interval(
        x, x, interval, x_label="hit rate", y_label="posterior", class_names=names, title="Both"
    )
    assert ax.get_title() == "Both\nSpearman 1.00 [1.00, 1.00], 4 subjects"
    assert legend(ax) == ["happy", "sad"] and ax.lines[1].get_color() == palette.look("sad").color
    assert sum(len(line.get_xdata()) for line in ax.lines) == 12
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("hit rate", "posterior")
    assert len(plots.scatter_with_interval(x, x, interval, x_label="a", y_label="b").lines) == 1


def test_figures_are_drawn_on_the_axes_given(frames):
    _, (ax, other) = plt.subplots(1, 2)
    assert plots.class_counts(frames, CLASSES, ax=ax) is ax
    assert plots.score_against_truth(np.array([0.1, 0.9]), np.array([False, True]), axes=(ax, other)) == (ax, other)
    assert len(plt.get_fignums()) == 1


CURVE = pd.DataFrame({"strength": [1], "value": [1], "low": [1]})


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: plots.contact_sheet(np.zeros((0, 48, 48), np.uint8)), "N >= 1"),
        (lambda: plots.contact_sheet(np.zeros((2, 48, 48))), "float64"),
        (lambda: plots.contact_sheet(np.zeros((2, 48, 48), np.uint8), ["a"]), "1 titles for 2 images"),
        (lambda: plots.posterior_over_time([0, 1], np.ones((2, 7)), CLASSES), r"8 classes, but posteriors \(2, 7\)"),
        (lambda: plots.posterior_over_time([0, 1], np.ones((2, 8)), CLASSES, own="anger"), "'anger'"),
        (lambda: plots.posterior_over_time([1, 0], np.ones((2, 8)), CLASSES), "must rise"),
        (lambda: plots.class_counts(pd.DataFrame(), CLASSES, unit="hours"), "'hours'"),
        (lambda: plots.score_against_truth(np.ones(2), np.ones(2)), "both kinds"),
        (lambda: plots.training_curves({}), "no history"),
        (lambda: plots.filter_curve(CURVE, strength_label="q"), r"\['high'\]"),
        (lambda: plots.confusion_matrix(np.ones((2, 3)), ["a", "b"]), r"\(2, 3\)"),
        (lambda: plots.intervals(CURVE.assign(variant="a", high=1), baseline="b"), "'b' is not among"),
        (lambda: plots.calibration(np.zeros(2, int), {"a": np.ones((3, 2))}), "'a': 3 rows for 2"),
    ],
)
def test_wrong_input_is_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()
