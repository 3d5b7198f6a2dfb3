"""The door: every name gives a fit that `cross_fit` takes, and what is wrong is found before anything is trained."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from made_sound import spectrograms

from emolib.cross_fitting import Parts, cross_fit
from emolib.folds import make_folds
from emolib.speech.learner import adapts, learner

SEQUENCES, LABEL, SUBJECT = spectrograms()
TABLE = pd.DataFrame({"performance": [f"p{k}" for k in range(len(LABEL))], "subject": SUBJECT, "label": LABEL})
SHARED = {"label": LABEL, "subject": SUBJECT, "n_classes": 4}
SMALL = {
    "cnn": {"widths": [4, 8], "blocks": [1, 1]},
    "bilstm_attention": {"units": 4},
    "temporal_convolution": {"units": 4, "layers": 1},
    "transformer": {"units": 4, "layers": 1, "heads": 2, "feedforward": 4},
    "statistics": {"components": 5},
}


def given(model: str, **change) -> dict:
    recipe = {} if model == "statistics" else {"epochs": 1, "batch_size": 8}
    values = SEQUENCES.means() if model == "statistics" else SEQUENCES
    return {**SHARED, "values": values, "options": SMALL.get(model), "recipe": recipe, **change}


@pytest.mark.parametrize("model", SMALL)
def test_a_learner_is_what_cross_fit_takes(model):
    fit, folds = learner(model, **given(model)), make_folds(TABLE, n_folds=2, seed=0)
    found = cross_fit(fit, TABLE, folds=folds, seeds=[1], classes=list("abcd"), workers=1, progress=False)
    tested = found.posteriors[found.posteriors["subset"] == "test"]
    assert sorted(tested["performance"]) == sorted(TABLE["performance"])
    parts = Parts(folds[0].train, folds[0].validation, folds[0].test, 1)
    in_a_process = pickle.loads(pickle.dumps(fit))  # as a worker gets it
    np.testing.assert_array_equal(in_a_process(parts).posterior, fit(parts).posterior)


@pytest.mark.parametrize(
    ("model", "change", "error", "message"),
    [
        ("vgg", {}, ValueError, "allowed are cnn, .*statistics, hub"),
        ("cnn", {"checkpoint": "folder"}, ValueError, "checkpoint 'folder' received, none is allowed"),
        ("hub", {}, ValueError, "the folder of an encoder is needed"),
        ("hub", {"checkpoint": "nowhere"}, FileNotFoundError, "nowhere: no such folder"),
        ("cnn", {"recipe": {"epoch": 1}}, TypeError, "epoch"),
        ("cnn", {"options": {"width": 1}}, TypeError, "width received"),
        ("cnn", {"augmentation": {"noise": -1.0}}, ValueError, "noise = -1.0"),
        ("cnn", {"values": SEQUENCES.means()}, ValueError, r"an array \(128, 12\) received"),
        ("statistics", {"values": SEQUENCES}, ValueError, "sequences received; statistics reads an array"),
        ("statistics", {"recipe": {"epochs": 2}}, ValueError, "it has none"),
        ("statistics", {"options": {"bogus": 1}}, TypeError, "bogus"),
        ("cnn", {"device": "tpu"}, ValueError, "device: 'tpu' received"),
    ],
)
def test_what_is_wrong_is_found_before_anything_is_trained(model, change, error, message):
    with pytest.raises(error, match=message):
        learner(model, **given(model, **change))


def test_statistics_adapt_to_a_person_as_their_model_does():
    assert adapts("statistics") and adapts("statistics", {"components": 3})
    assert not adapts("statistics", {"model": "svc"}) and not adapts("cnn", {"widths": [4]})


def test_nothing_is_drawn_from_the_global_generator():
    state = torch.random.get_rng_state()
    learner("cnn", **given("cnn"))
    assert torch.equal(state, torch.random.get_rng_state())
