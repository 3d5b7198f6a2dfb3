"""What the folds' models say about people they did not learn from: posteriors, votes, metrics. Pure; a model a fold.

Test and validation part are treated alike, so that a choice (a percentile, a stage) can be made on the validation
people of each fold by the very numbers that its test reports. Under `reference` the two parts are the same people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emolib import evaluation, experiment, intervals, posteriors, training, voting
from emolib.folds import Fold

SUBSETS = ("test", "validation")


@dataclass(frozen=True)
class Predictions:
    """Posteriors of all folds.

    Attributes
    ----------
    test : posterior table of all frames with a face, each judged by the one model whose fold tests its subject.
    validation : posterior table of the validation frames with a face (every `step`-th), by fold.
    training_means : a row a fold, ``p_<class>`` = mean over the fold's training videos of the video's mean posterior
        (every `step`-th frame, filtered or not), and ``fold``: what the vote `auc_zscore` needs.
    """

    test: pd.DataFrame
    validation: pd.DataFrame
    training_means: pd.DataFrame


def predict_folds(
    parts: Sequence[Fold],
    trained: Sequence[training.Trained],
    images: np.ndarray,
    guides: np.ndarray | None,
    frames: pd.DataFrame,
    *,
    model: str,
    classes: Sequence[str],
    model_options: Mapping,
    step: int = 1,
) -> Predictions:
    """Posteriors of each fold's test and validation frames by that fold's model.

    Parameters
    ----------
    trained : each fold's model.
    step : every `step`-th frame of a video is read for validation and for the training means; the test has all.
    """
    face, thinned = experiment.candidates(frames), experiment.candidates(frames, step)
    sample, video = frames["sample"].to_numpy(), frames["video"].to_numpy()
    network = {"model": model, "n_classes": len(classes), "model_options": model_options}
    tables, means = {subset: [] for subset in SUBSETS}, []
    for part, one in zip(parts, trained, strict=True):
        wanted = {"test": part.test[face[part.test]], "validation": part.validation[thinned[part.validation]]}
        rows = np.union1d(*wanted.values())  # under `reference` the same frames: judged once
        posterior = posteriors.predict(images, guides, rows, state=one.state, **network)
        for subset, of_subset in wanted.items():
            seen = posterior[np.searchsorted(rows, of_subset)]
            table = posteriors.table(sample[of_subset], seen, classes=classes, fold=part.fold, subset=subset)
            tables[subset].append(table)
        learned = part.train[thinned[part.train]]
        seen = posteriors.predict(images, guides, learned, state=one.state, **network)
        means.append(voting.training_mean(video[learned], seen))
    training_means = pd.DataFrame(means, columns=posteriors.posterior_columns(classes))
    joined = (pd.concat(tables[subset], ignore_index=True) for subset in SUBSETS)
    return Predictions(*joined, training_means.assign(fold=[part.fold for part in parts]))


def video_votes(
    parts: Sequence[Fold],
    judged: pd.DataFrame,
    training_means: pd.DataFrame,
    frames: pd.DataFrame,
    *,
    subset: str,
    classes: Sequence[str],
) -> pd.DataFrame:
    """The four votes of every video of each fold's `subset` ("test" or "validation"), by video, then fold.

    Parameters
    ----------
    judged : posterior table of that subset; some of the frames or all.
    training_means : as in `Predictions`.

    Returns
    -------
    DataFrame: video, subject, label, fold, predicted_<method>. A video in which no frame was judged (no face was found)
    has no vote: ``predicted_<method> = -1``, no answer, which is always wrong.
    """
    columns = posteriors.posterior_columns(classes)
    video_of = frames.set_index("sample")["video"]
    voted = []
    for part in parts:
        rows = judged[judged["fold"] == part.fold]
        mean = training_means.set_index("fold").loc[part.fold, columns].to_numpy(dtype=np.float64)
        videos = (
            frames.iloc[getattr(part, subset)].groupby("video")[["subject", "label"]].first().assign(fold=part.fold)
        )
        for method in voting.METHODS:
            videos[f"predicted_{method}"] = -1
            if len(rows):
                options = {"training_mean": mean} if method == "auc_zscore" else {}
                names = video_of.loc[rows["sample"]].to_numpy()
                answer = voting.vote(names, rows[columns].to_numpy(), method=method, **options)["predicted"]
                videos.loc[answer.index, f"predicted_{method}"] = answer
        voted.append(videos.reset_index())
    return pd.concat(voted).sort_values(["video", "fold"], ignore_index=True)


def evaluate(
    predictions: pd.DataFrame, votes: pd.DataFrame, frames: pd.DataFrame, *, classes: Sequence[str], seed: int
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
