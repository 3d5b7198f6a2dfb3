"""The sweep of static models: each row is what cross-fitting that setting alone gives."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest
from test_static_fitting import CLASSES, LABEL, PERFORMANCES, SUBJECT, VALUES

from emolib import folds, performance_results, static_fitting, static_sweep
from emolib.cross_fitting import cross_fit

FOLDS = folds.make_folds(PERFORMANCES, n_folds=3, seed=1)
ASKED = {"folds": FOLDS, "seeds": [1, 2], "classes": CLASSES, "progress": False}
SMALL = {"models": ["ridge", "knn", "decision_tree"], "scalings": ["none", "minmax"]}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_row_is_its_setting_alone(workers):
    table = static_sweep.sweep(VALUES, PERFORMANCES, **ASKED, **SMALL, workers=workers)
    assert len(table) == 6 and table["mean_of_folds"].is_monotonic_decreasing
    assert (table["seconds"] > 0).all() and (table["low"] <= table["accuracy"]).all()
    assert table.set_index("model")["n_seeds"].to_dict() == {"ridge": 1, "knn": 1, "decision_tree": 2}
    assert set(table.loc[table["model"] == "ridge", "posterior"]) == {"margins"}
    for row in table.itertuples():
        fit = partial(
            static_fitting.fit,
            values=VALUES,
            label=LABEL,
            subject=SUBJECT,
            n_classes=3,
            model=row.model,
            scaling=row.scaling,
        )
        alone = cross_fit(fit, PERFORMANCES, **ASKED | {"seeds": [1, 2][: row.n_seeds]}, workers=1)
        found = performance_results.summary(alone.posteriors, PERFORMANCES, classes=CLASSES).set_index("metric")
        expected = found.loc["accuracy", ["value", "low", "high", "mean_of_folds", "sd_of_folds"]].astype(float)
        given = [row.accuracy, row.low, row.high, row.mean_of_folds, row.sd_of_folds]
        np.testing.assert_allclose(given, expected)
        assert row.uar == pytest.approx(found.loc["uar", "value"])


def test_processes_change_no_number():
    first, second = (
        static_sweep.sweep(VALUES, PERFORMANCES, **ASKED, **SMALL, workers=n).drop(columns="seconds") for n in (1, 2)
    )
    pd.testing.assert_frame_equal(first, second)


@pytest.mark.parametrize("models", [[], ["knn", "knn"]])
def test_no_setting_and_twice_the_same_are_refused(models):
    with pytest.raises(ValueError, match="one or more different ones are allowed"):
        static_sweep.sweep(VALUES, PERFORMANCES, **ASKED, models=models)
