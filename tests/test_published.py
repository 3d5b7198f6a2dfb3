"""Published results: the numbers of the thesis, and names that are known."""

import pytest

from emolib import published


def test_the_thesis_as_published():
    table = published.table("ravdess_thesis").set_index("variant")
    assert tuple(table.reset_index().columns) == published.COLUMNS
    shown = (100 * table[["frame_accuracy", "video_accuracy"]]).round(2).apply(tuple, axis=1).to_dict()
    assert len(shown) == 11
    assert shown["all frames"] == (46.78, 54.27)
    assert shown["percentile 35, dropout 0.5, weight decay 1e-3"] == (50.56, 60.08)
    assert shown["two-stage mixed, threshold 0.7"] == (51.27, 61.67) and shown["threshold 0.6"] == (21.70, 23.70)
    assert (table["corpus"] == "RAVDESS").all() and (table["protocol"] == "reference").all()
    assert (table["video_accuracy"] > table["frame_accuracy"]).all() and (table["video_accuracy"] < 1).all()


def test_no_name_is_no_result_and_an_unknown_one_is_an_error():
    assert published.table("").empty and tuple(published.table("").columns) == published.COLUMNS
    with pytest.raises(ValueError, match="'pedfe': one of ravdess_thesis"):
        published.table("pedfe")


def test_system_b_as_published():
    table = published.still_table("guided_fer2013")
    assert tuple(table.columns) == published.STILL_COLUMNS
    shown = (100 * table.set_index("variant")["accuracy"]).round(2).to_dict()
    assert shown == {"original": 72.92, "saliency": 74.93, "best of all variants, transfer": 76.01}
    assert (table["corpus"] == "FER-2013").all() and (table["protocol"] == "reference").all()
    assert published.still_table("").empty
    with pytest.raises(ValueError, match="'ravdess_thesis': one of guided_fer2013"):
        published.still_table("ravdess_thesis")
