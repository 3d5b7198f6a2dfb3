"""One variant of the filtering experiment: frames kept, members of the training stack, predictions, results.

The pure middle of notebook 04: tables and arrays in, tables and arrays out. What is trained is tested on *all* frames
of the fold's test subjects in which a face was found, whatever the filter kept.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from emolib import evaluation, filters, intervals, labels, posteriors, training, voting
from emolib.folds import Fold


def frame_posterior(judged: pd.DataFrame, frames: pd.DataFrame, *, source: str, target: str) -> np.ndarray:
    """Posteriors of the judged frames, aligned with the manifest and in the corpus's label space.

    Parameters
    ----------
    judged : posterior table (``sample``, ``p_<class>`` ...) in label space `source`; only frames with a face are in it.
    frames : manifest of the corpus, labelled in label space `target`.

    Returns
    -------
    float32 [len(frames), classes of target]; a class of `target` has the column of the class that it maps to (calm has
    that of neutral), so rows need not sum to 1. Rows of frames without a face are NaN.

    Raises
    ------
    ValueError
        A frame with a face has no posterior.
    """
    columns = posteriors.posterior_columns(labels.names(source))
    aligned = judged.set_index("sample").reindex(frames["sample"])[columns].to_numpy(dtype=np.float32)
    unjudged = np.isnan(aligned).any(axis=1) & frames["face_ok"].to_numpy()
    if unjudged.any():
        raise ValueError(
            f"{unjudged.sum()} frames with a face have no posterior, the first is sample "
            f"{frames['sample'][unjudged].iloc[0]}: run notebook 03 again on this frame store"
        )
    return labels.spread_posterior(aligned, source=source, target=target)


def frame_list(frames: pd.DataFrame, selection: filters.FrameSelection) -> pd.DataFrame:
    """The selection as the table that other stages read: ``sample``, ``keep``, ``score``."""
    return pd.DataFrame({"sample": frames["sample"], "keep": selection.keep, "score": selection.score})


def quality_against_truth(
    frames: pd.DataFrame, selection: filters.FrameSelection, *, shows_label_at: float
) -> pd.DataFrame:
    """How right the filter is where the corpus knows the ``true_intensity``: one row, or none where it does not.

    A frame shows its label where its true intensity is at least `shows_label_at` (0..1). Only frames with a face count.
    """
    if "true_intensity" not in frames or np.isnan(selection.score[frames["face_ok"]]).any():
        return pd.DataFrame()
    face = frames["face_ok"].to_numpy()
    shows = frames["true_intensity"].to_numpy()[face] >= shows_label_at
    quality = evaluation.filter_quality(selection.keep[face], selection.score[face], shows)
    return pd.DataFrame([quality])


def members(
    parts: list[Fold],
    frames: pd.DataFrame,
    *,
    keep: np.ndarray,
    step: int = 1,
    seed: int,
    initial: dict | None = None,
) -> list[training.Member]:
    """One member of the training stack a fold.

    Parameters
    ----------
    keep : bool [len(frames)], the filter's choice; it applies to training frames alone.
    step : every `step`-th frame of a video is a candidate for training and validation.
    initial : weights to start from, or None to start from scratch.
    """
    candidate = _candidates(frames, step)
    return [
        training.Member(
            name=f"fold{part.fold}",
            train=part.train[(candidate & keep)[part.train]],
            validation=part.validation[candidate[part.validation]],
            seed=seed + part.fold,
            initial=initial,
        )
        for part in parts
    ]


def _candidates(frames: pd.DataFrame, step: int) -> np.ndarray:
    """Frames with a face, every `step`-th of a video: bool [len(frames)]."""
    return frames["face_ok"].to_numpy() & (frames["frame"].to_numpy() % step == 0)


def fold_table(parts: list[Fold], stack: list[training.Member], frames: pd.DataFrame) -> pd.DataFrame:
    """Who is in which part of each fold, and how many frames a model learns from."""

    def subjects(rows):
        return " ".join(sorted(frames["subject"].iloc[rows].unique()))

    return pd.DataFrame(
        {
            "fold": [part.fold for part in parts],
            "training subjects": [subjects(part.train) for part in parts],
            "validation subjects": [subjects(part.validation) for part in parts],
            "test subjects": [subjects(part.test) for part in parts],
            "training frames": [len(member.train) for member in stack],
            "validation frames": [len(member.validation) for member in stack],
            "test frames": [int(frames["face_ok"].iloc[part.test].sum()) for part in parts],
        }
    )


def predict_folds(
    parts: list[Fold],
    trained: list[training.Trained],
    images: np.ndarray,
    guides: np.ndarray,
    frames: pd.DataFrame,
    *,
    model: str,
    classes: list[str],
    model_options: dict,
    training_step: int = 1,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Posteriors of each fold's test frames, and what the vote `auc_zscore` needs of its training videos.

    Returns
    -------
    predictions : posterior table of all frames with a face, each judged by the one model whose fold tests its subject.
    training_means : a row a fold, ``p_<class>`` = mean over the fold's training videos of the video's mean posterior
        (every `training_step`-th frame, filtered or not).
    """
    face, thinned = _candidates(frames, 1), _candidates(frames, training_step)
    options = {"model": model, "n_classes": len(classes), "model_options": model_options}
    predictions, means = [], []
    for part, one in zip(parts, trained, strict=True):
        test, train = part.test[face[part.test]], part.train[thinned[part.train]]
        posterior = posteriors.predict(images, guides, test, state=one.state, **options)
        sample = frames["sample"].to_numpy()[test]
        predictions.append(posteriors.table(sample, posterior, classes=classes, fold=part.fold, subset="test"))
        seen = posteriors.predict(images, guides, train, state=one.state, **options)
        means.append(voting.training_mean(frames["video"].to_numpy()[train], seen))
    columns = posteriors.posterior_columns(classes)
    training_means = pd.DataFrame(means, columns=columns).assign(fold=[part.fold for part in parts])
    return pd.concat(predictions, ignore_index=True), training_means


def video_votes(
    predictions: pd.DataFrame, training_means: pd.DataFrame, frames: pd.DataFrame, *, classes: list[str]
) -> pd.DataFrame:
    """The four votes of every test video: ``video, subject, label, fold, predicted_<method>``.

    A video in which no face was found has no vote: ``predicted_<method> = -1``, no answer, which is always wrong; its
    fold is that of its subject's other videos.
    """
    columns = posteriors.posterior_columns(classes)
    known = frames.set_index("sample").loc[predictions["sample"], ["video"]]
    voted = []
    for fold, rows in predictions.assign(video=known["video"].to_numpy()).groupby("fold"):
        mean = training_means.set_index("fold").loc[fold, columns].to_numpy()
        posterior = rows[columns].to_numpy()
        table = {
            f"predicted_{method}": voting.vote(
                rows["video"].to_numpy(),
                posterior,
                method=method,
                **({"training_mean": mean} if method == "auc_zscore" else {}),
            )["predicted"]
            for method in voting.METHODS
        }
        voted.append(pd.DataFrame(table).assign(fold=fold))
    videos = frames.groupby("video", sort=True)[["subject", "label"]].first().join(pd.concat(voted))
    videos["fold"] = videos["fold"].fillna(videos.groupby("subject")["fold"].transform("first"))
    predicted = [f"predicted_{method}" for method in voting.METHODS]
    videos[predicted] = videos[predicted].fillna(-1)
    return videos.astype(dict.fromkeys(["fold", *predicted], "int64")).reset_index()


def evaluate(
    predictions: pd.DataFrame, votes: pd.DataFrame, frames: pd.DataFrame, *, classes: list[str], seed: int
) -> pd.DataFrame:
    """Accuracy and unweighted average recall of frames, and of videos by each vote, with intervals over subjects.

    Returns
    -------
    DataFrame: metric, value, low, high (95 %, bootstrap over subjects), mean_of_folds, sd_of_folds, n.
    """
    known = frames.set_index("sample").loc[predictions["sample"]]
    of_frames = predictions[posteriors.posterior_columns(classes)].to_numpy().argmax(1)
    judged = {"frame": (known["label"], of_frames, known["subject"], predictions["fold"])}
    for method in voting.METHODS:
        judged[f"video {method}"] = tuple(votes[c] for c in ("label", f"predicted_{method}", "subject", "fold"))
    rows = []
    for what, columns in judged.items():
        true, predicted, subject, fold = (np.asarray(column) for column in columns)
        for metric in ("accuracy", "uar"):
            interval = intervals.subject_bootstrap(true, predicted, subject, metric=metric, seed=seed)
            by_fold = evaluation.by_fold(true, predicted, fold, metric=metric)
            rows.append(
                {
                    "metric": f"{what} {metric}",
                    "value": interval.value,
                    "low": interval.low,
                    "high": interval.high,
                    "mean_of_folds": np.mean(by_fold),
                    "sd_of_folds": np.std(by_fold, ddof=1) if len(by_fold) > 1 else np.nan,
                    "n": len(true),
                }
            )
    return pd.DataFrame(rows)
