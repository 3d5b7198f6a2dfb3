"""Folds, seeds and inner folds of any model: who is learned from, and a killed run resumes with the same answers."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emolib import cross_fitting, folds
from emolib.cross_fitting import Fitted

CLASSES = ["a", "b"]


@pytest.fixture
def people():
    """48 performances of 8 subjects."""
    n = 48
    subject = [f"s{k % 8}" for k in range(n)]
    ids = [f"p{k:02d}" for k in range(n)]
    return pd.DataFrame({"performance": ids, "subject": subject, "label": np.arange(n) // 8 % 2})


def memorise(parts, *, n: int, log: Path | None = None, values: np.ndarray | None = None) -> Fitted:
    """Answers 1 for what it was given to learn from or to stop by, else 0; leaves a line a call.

    It is interrupted where the log has three lines and a file ``stop`` lies beside it.
    """
    if log and (log.parent / "stop").is_file() and len(log.read_text().splitlines()) == 3:
        raise KeyboardInterrupt
    if log:
        with log.open("a") as file:
            file.write(f"{parts.seed}\n")
    known = np.zeros(n)
    known[np.concatenate([parts.train, parts.validation])] = 1
    known = known[parts.predict]
    history = pd.DataFrame({"epoch": [1], "seen": [len(parts.train)]})
    own = pd.DataFrame({"row": parts.predict, "weight": known})
    return Fitted(np.stack([known, 1 - known], axis=1), {"history": history, "attention": own})


def made(people, protocol="nested"):
    return folds.make_folds(people, n_folds=4, protocol=protocol, seed=1, validation_subjects_share=0.34)


@pytest.mark.parametrize("workers", [1, 2])
def test_out_of_fold_and_test_answers_come_from_models_that_did_not_know_the_performance(people, workers):
    fit = partial(memorise, n=len(people))
    done = cross_fitting.cross_fit(
        fit, people, folds=made(people), seeds=[1, 2], classes=CLASSES, inner_folds=2, workers=workers, progress=False
    )
    table = done.posteriors
    known = table["p_a"] == 1
    assert known[table["subset"].isin(["train", "validation"])].all()
    assert not known[table["subset"].isin(["test", "out_of_fold"])].any()
    for (_, _), one in table.groupby(["fold", "seed"]):
        rows = {name: set(part["performance"]) for name, part in one.groupby("subset")}
        assert rows["out_of_fold"] == rows["train"] | rows["validation"]
        assert not rows["out_of_fold"] & rows["test"]
    assert (table[table["subset"] == "test"].groupby("seed")["performance"].nunique() == len(people)).all()
    # 4 folds x 2 seeds, each once whole and twice in part
    assert done.tables["history"].groupby("inner").size().to_dict() == {-1: 8, 0: 8, 1: 8}
    outer = done.tables["attention"].query("inner == -1 and fold == 0 and seed == 1")
    assert set(outer["performance"]) == set(people["performance"]) and "row" not in outer


def test_subjects_of_an_inner_fold_are_not_learned_from_in_it(people):
    fold = made(people)[0]
    jobs = list(cross_fitting._jobs(fold, people["subject"].to_numpy(), seed=3, inner_folds=3))[1:]
    of = people["subject"].to_numpy()
    for job in jobs:
        sets = [set(of[rows]) for rows in (job.parts.train, job.parts.validation, job.parts.predict)]
        assert not (sets[0] & sets[1] or sets[0] & sets[2] or sets[1] & sets[2])
        assert not sets[0] & set(of[fold.test]) and not sets[1] & set(of[fold.test])


def test_under_reference_the_test_part_stops_the_model_and_is_called_test(people):
    done = cross_fitting.cross_fit(
        partial(memorise, n=len(people)), people, folds=made(people, "reference"), seeds=[1], classes=CLASSES,
        workers=1, progress=False,
    )  # fmt: skip
    assert set(done.posteriors["subset"]) == {"train", "test"}
    assert (done.posteriors["p_a"] == 1).all()


def test_a_killed_run_resumes_and_ends_with_the_same_answers(people, tmp_path):
    options = {"folds": made(people), "classes": CLASSES, "workers": 1, "progress": False}
    log, keep = tmp_path / "log", tmp_path / "keep"
    fit = partial(memorise, n=len(people), log=log)
    log.touch()
    (tmp_path / "stop").touch()
    with pytest.raises(KeyboardInterrupt):
        cross_fitting.cross_fit(fit, people, seeds=[1, 2], keep=keep, **options)
    (tmp_path / "stop").unlink()
    resumed = cross_fitting.cross_fit(fit, people, seeds=[1, 2], keep=keep, **options)
    assert len(log.read_text().splitlines()) == 8  # none of the three was fitted again
    whole = cross_fitting.cross_fit(fit, people, seeds=[1, 2], **options)
    pd.testing.assert_frame_equal(resumed.posteriors, whole.posteriors)
    for name, table in whole.tables.items():
        pd.testing.assert_frame_equal(resumed.tables[name], table)


def test_a_kept_fit_of_other_data_or_code_or_one_half_removed_is_made_again(people, tmp_path, monkeypatch):
    log, keep = tmp_path / "log", tmp_path / "keep"
    options = {
        "folds": made(people)[:1],
        "seeds": [1],
        "classes": CLASSES,
        "workers": 1,
        "progress": False,
        "keep": keep,
    }

    def calls(value: float) -> int:
        before = len(log.read_text().splitlines()) if log.is_file() else 0
        fit = partial(memorise, n=len(people), log=log, values=np.full(9, value))
        cross_fitting.cross_fit(fit, people, **options)
        return len(log.read_text().splitlines()) - before

    assert [calls(1.0), calls(1.0), calls(2.0), calls(2.0)] == [1, 0, 1, 0]
    (keep / "fold0-seed1-inner-1" / "plan.json").unlink()  # as when a kill falls into its removal
    assert [calls(2.0), calls(2.0)] == [1, 0]
    monkeypatch.setattr(cross_fitting.provenance, "hash_sources", lambda: "changed")
    assert calls(2.0) == 1


def test_what_is_no_posterior_is_named_and_not_kept(people, tmp_path):
    def wrong(parts):
        return Fitted(np.full((len(parts.predict), 2), np.nan))

    options = {"folds": made(people)[:1], "seeds": [7], "classes": CLASSES, "workers": 1, "progress": False}
    with pytest.raises(ValueError, match=r"fold0-seed7-inner-1: \[nan, nan\] is no posterior"):
        cross_fitting.cross_fit(wrong, people, **options)


def test_a_kept_fit_of_other_folds_is_made_again(people, tmp_path):
    log = tmp_path / "log"
    options = {"seeds": [1], "classes": CLASSES, "workers": 1, "progress": False, "keep": tmp_path / "keep"}
    fit = partial(memorise, n=len(people), log=log)
    cross_fitting.cross_fit(fit, people, folds=made(people)[:1], **options)
    cross_fitting.cross_fit(fit, people, folds=made(people, "reference")[:1], **options)
    assert len(log.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": [1, 1]}, "seeds"),
        ({"seeds": []}, "seeds"),
        ({"seeds": [1], "inner_folds": 1}, "inner_folds: 1"),
        ({"seeds": [1], "inner_folds": 40}, "n_folds = 40"),
    ],
)
def test_what_cannot_be_fitted_is_an_error(people, options, message):
    with pytest.raises(ValueError, match=message):
        cross_fitting.cross_fit(
            partial(memorise, n=len(people)), people, folds=made(people), classes=CLASSES, workers=1, progress=False,
            **options,
        )  # fmt: skip


def test_a_fit_that_answers_for_others_is_refused(people):
    def short(parts):
        return Fitted(np.ones((1, 2)) / 2)

    with pytest.raises(ValueError, match="1 posteriors for 48 performances"):
        cross_fitting.cross_fit(
            short, people, folds=made(people), seeds=[1], classes=CLASSES, workers=1, progress=False
        )
