"""Ids without modality, tables of performances, and their posterior tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from emolib import performances, posteriors

CLASSES = ["neutral", "happy"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("03-01-05-02-01-01-16", "01-05-02-01-01-16"),
        ("Actor_16/01-01-05-02-01-01-16.mp4", "01-05-02-01-01-16"),
        ("01-01-05-02-01-01-16.csv", "01-05-02-01-01-16"),
        ("clips/12_dg_1.avi", "clips/12_dg_1.avi"),  # not in that form: the name itself
        ("a.b", "a.b"),
        ("03-01-05-02-01-01-160", "03-01-05-02-01-01-160"),
    ],
)
def test_the_id_of_a_performance_is_its_name_without_modality(name, expected):
    assert performances.performance_id(name) == expected


def test_names_say_subject_label_and_intensity():
    table = performances.from_names(["03-01-05-02-01-01-16", "01-01-01-01-02-01-03.csv"])
    assert table["performance"].tolist() == ["01-05-02-01-01-16", "01-01-01-02-01-03"]
    assert table["subject"].tolist() == ["16", "03"] and table["label"].tolist() == [4, 0]
    assert table["intensity"].tolist() == ["strong", "normal"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["03-01-05-02-01-01-16", "song.ogg"], "row 1: 'song.ogg'"),
        (["03-01-09-02-01-01-16"], "row 0"),
        (["03-01-05-02-01-01-16", "01-01-05-02-01-01-16"], "row 1: performance 01-05-02-01-01-16 is there twice"),
    ],
)
def test_names_that_say_nothing_or_the_same_twice_are_errors(names, message):
    with pytest.raises(ValueError, match=message):
        performances.from_names(names)


def test_a_column_that_is_missing_is_named():
    with pytest.raises(ValueError, match=r"mean\.csv: column\(s\) label missing"):
        performances.checked(pd.DataFrame({"performance": ["a"], "subject": ["1"]}), where="mean.csv")


def test_a_posterior_table_is_read_as_it_was_written(tmp_path):
    said = np.array([[0.25, 0.75], [1, 0]])
    made = [
        performances.posterior_table(["a", "b"], said, classes=CLASSES, fold=0, subset=["out_of_fold", "test"], seed=s)
        for s in (1, 2)
    ]
    table = pd.concat(made, ignore_index=True)
    posteriors.write(table, tmp_path / "p.parquet", layout=posteriors.PERFORMANCES)
    again = posteriors.read(tmp_path / "p.parquet", classes=CLASSES, layout=posteriors.PERFORMANCES)
    pd.testing.assert_frame_equal(again, table)
    with pytest.raises(ValueError, match="columns"):
        posteriors.read(tmp_path / "p.parquet", classes=CLASSES)  # not a table of frames


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.assign(subset="inner"), "subset 'inner' found, allowed are train, out_of_fold"),
        (lambda table: pd.concat([table, table], ignore_index=True), "performance a is twice in fold 3"),
        (lambda table: table.assign(p_happy=0.9), "row 0: the posterior sums to"),
    ],
)
def test_a_faulty_posterior_table_is_refused(change, message):
    table = performances.posterior_table(["a"], [[0.5, 0.5]], classes=CLASSES, fold=3, subset="test", seed=1)
    with pytest.raises(ValueError, match=message):
        posteriors.check(change(table), classes=CLASSES, where="here", layout=posteriors.PERFORMANCES)
