"""Training networks over spectrograms: they learn, are deterministic, keep what is asked, and stay in their parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_sound import spectrograms

from emolib import sequences
from emolib.cross_fitting import Parts
from emolib.ragged import Ragged
from emolib.sequences.batches import Steps
from emolib.speech import batches, models, training
from emolib.speech.fit import fit
from emolib.speech.recipe import SpeechRecipe

SEQUENCES, LABEL, SUBJECT = spectrograms()
ROWS = np.arange(len(LABEL))
PARTS = Parts(ROWS[SUBJECT <= "01"], ROWS[SUBJECT == "02"], ROWS[SUBJECT >= "02"], seed=3)
TINY = {"widths": [4, 8], "blocks": [1, 1], "dropout": 0.1}
RECIPE = {"epochs": 6, "batch_size": 8, "learning_rate": 5e-3}
OF_TINY = {"sequences": SEQUENCES, "label": LABEL, "n_classes": 4, "options": TINY}


def accuracy(posterior: np.ndarray, rows: np.ndarray) -> float:
    return float((posterior.argmax(axis=1) == LABEL[rows]).mean())


@pytest.mark.parametrize(
    ("model", "options"),
    [("cnn", {**TINY, "widths": [8, 16]}), ("cnn", {**TINY, "residual": True}), ("bilstm_attention", {"units": 8})],
)
def test_a_network_learns_to_name_the_loud_band_of_people_it_has_not_heard(model, options):
    recipe = {"epochs": 16, "batch_size": 8, "learning_rate": 0.01, "label_smoothing": 0.05, "ema_decay": 0.8}
    augmentation = {"noise": 0.3, "time_masks": 1, "time_width": 4, "gain": 0.2}
    of_model = {**OF_TINY, "model": model, "options": options}
    found = fit(PARTS, **of_model, recipe=recipe, augmentation=augmentation)
    assert found.posterior.dtype == np.float32 and found.posterior.shape == (len(PARTS.predict), 4)
    np.testing.assert_allclose(found.posterior.sum(axis=1), 1, atol=1e-5)
    heard_never = PARTS.predict[SUBJECT[PARTS.predict] == "03"]
    assert accuracy(found.posterior[-len(heard_never) :], heard_never) > 0.8
    history = found.tables["history"]
    assert tuple(history.columns) == training.HISTORY_COLUMNS and len(history) == 16 and history["kept"].sum() == 1
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]


@pytest.mark.parametrize("more", [{}, {"mixup_alpha": 0.3, "clip_norm": 1.0, "class_weights": True}])
def test_equal_inputs_and_seed_give_equal_bits(more):
    recipe = {**RECIPE, "epochs": 2, **more}
    once, again = (fit(PARTS, **OF_TINY, recipe=recipe, augmentation={"noise": 0.2}) for _ in range(2))
    np.testing.assert_array_equal(once.posterior, again.posterior)
    other = fit(Parts(PARTS.train, PARTS.validation, PARTS.predict, seed=4), **OF_TINY, recipe=recipe)
    assert np.abs(other.posterior - once.posterior).max() > 1e-3
    state = torch.random.get_rng_state()
    fit(PARTS, **OF_TINY, recipe={**RECIPE, "epochs": 1})
    assert torch.equal(state, torch.random.get_rng_state()), "the global generator was moved"


def test_labels_outside_of_train_and_validation_are_not_read():
    hidden = LABEL.copy()
    hidden[SUBJECT == "03"] = -1
    recipe = {**RECIPE, "epochs": 2}
    known, unknown = (fit(PARTS, **{**OF_TINY, "label": label}, recipe=recipe) for label in (LABEL, hidden))
    np.testing.assert_array_equal(known.posterior, unknown.posterior)


def test_rows_that_are_predicted_are_not_learned_from():
    values = SEQUENCES.values.copy()
    only_predicted = np.repeat(SUBJECT == "03", SEQUENCES.length)
    values[only_predicted] = values[only_predicted] * 5 - 2
    recipe = {**RECIPE, "epochs": 2}
    one, other = (
        fit(PARTS, **{**OF_TINY, "sequences": Ragged(v, SEQUENCES.length)}, recipe=recipe, keep_weights=True)
        for v in (SEQUENCES.values, values)
    )
    a, b = (sequences.state_of(found.tables["weights"]) for found in (one, other))
    assert all(torch.equal(a[name], b[name]) for name in a)
    heard = np.isin(PARTS.predict, PARTS.validation)
    np.testing.assert_array_equal(one.posterior[heard], other.posterior[heard])


def test_the_table_of_weights_answers_as_the_fit_did():
    found = fit(PARTS, **OF_TINY, recipe={**RECIPE, "epochs": 2, "ema_decay": 0.5}, keep_weights=True)
    network = models.build("cnn", 12, 4, options=TINY)
    state = sequences.state_of(found.tables["weights"])
    network.load_state_dict(state)
    data = Steps.of(SEQUENCES, [ROWS])
    said = training.posterior(network, data, PARTS.predict, recipe=SpeechRecipe(**RECIPE), device=torch.device("cpu"))
    np.testing.assert_allclose(said, found.posterior, atol=1e-6)
    centre, scale = state["centre"].numpy(), state["scale"].numpy()
    learned = SEQUENCES.values[np.repeat(np.isin(ROWS, PARTS.train), SEQUENCES.length)]
    np.testing.assert_allclose(centre, learned.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(scale, learned.std(axis=0), atol=1e-5)


@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_epoch_that_is_kept(keep):
    history = fit(PARTS, **OF_TINY, recipe={**RECIPE, "keep": keep, "monitor": "loss"}).tables["history"]
    losses = history["validation_loss"].to_numpy()
    wanted = losses.argmin() if keep == "best" else len(losses) - 1
    assert np.flatnonzero(history["kept"]).tolist() == [wanted]


def test_patience_ends_a_training_that_gets_no_better():
    still = fit(PARTS, **OF_TINY, recipe={**RECIPE, "epochs": 30, "learning_rate": 1e-12, "patience": 2})
    assert len(still.tables["history"]) == 3


def test_views_are_averaged():
    found = fit(PARTS, **OF_TINY, recipe={**RECIPE, "epochs": 1, "crop_steps": 8, "test_crops": 3}, keep_weights=True)
    network = models.build("cnn", 12, 4, options=TINY)
    network.load_state_dict(sequences.state_of(found.tables["weights"]))
    network.eval()
    for place, row in enumerate(PARTS.predict[:5]):
        one = torch.from_numpy(SEQUENCES[int(row)].copy())
        starts = np.linspace(0, len(one) - 8, 3).round().astype(int)
        with torch.inference_mode():
            each = [network(one[None, k : k + 8], torch.tensor([8])).softmax(1)[0].numpy() for k in starts]
        np.testing.assert_allclose(found.posterior[place], np.mean(each, axis=0), atol=1e-5)


def test_the_schedule_and_the_rate_of_the_head():
    recipe = SpeechRecipe(epochs=10, learning_rate=0.1, warmup_share=0.2, head_rate=3.0, weight_decay=0.5)
    rates = [recipe.rate(step, steps_per_epoch=5) for step in range(50)]
    assert rates[0] == pytest.approx(0.01) and max(rates) == pytest.approx(0.1) and rates[-1] < 1e-3
    assert np.argmax(rates) in (9, 10) and (np.diff(rates[10:]) < 0).all()
    network = models.build("cnn", 12, 4, options=TINY)
    groups = training._optimiser(network, recipe).param_groups
    head = {id(parameter) for parameter in network.last_layer().parameters()}
    for group in groups:
        for parameter in group["params"]:
            assert group["factor"] == (3.0 if id(parameter) in head else 1.0)
            assert group["weight_decay"] == (0.5 if parameter.ndim > 1 else 0.0)
    assert sum(len(group["params"]) for group in groups) == len(list(network.parameters()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": LABEL[:-1]}, r"label: \(127,\) received"),
        ({"label": np.where(ROWS == 5, 4, LABEL)}, "label, row 5: 4 received, 0 to 3"),
        ({"model": "rnn"}, "'rnn' received"),
        ({"recipe": {"batch_size": 1}}, "batch_size = 1 received, 2 or more"),
        ({"recipe": {"keep": "first"}}, "keep = 'first' received, 'best' or 'last'"),
        ({"recipe": {"mixup_alpha": -1.0}}, "mixup_alpha = -1.0"),
        ({"recipe": {"ema_decay": 1.0}}, "ema_decay = 1.0 received, a number from 0 to below 1"),
        ({"recipe": {"test_crops": 3}}, "test_crops = 3 received, 0, where there are no crop_steps"),
        ({"recipe": {"head_rate": 0.0}}, "head_rate = 0.0"),
        ({"recipe": {"horizontal_flip": True}}, "no mirror image"),
        ({"device": "tpu"}, "'tpu' received"),
    ],
)
def test_fit_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        fit(PARTS, **{**OF_TINY, "recipe": RECIPE, **change})


def test_an_empty_part_and_unknown_names_are_refused():
    with pytest.raises(ValueError, match="validation is empty"):
        fit(Parts(PARTS.train, PARTS.validation[:0], PARTS.predict, 0), **OF_TINY)
    with pytest.raises(TypeError, match="epoch"):
        fit(PARTS, **OF_TINY, recipe={"epoch": 3})
    with pytest.raises(TypeError, match="noises"):
        fit(PARTS, **OF_TINY, augmentation={"noises": 3.0})


def test_a_loss_that_is_not_finite_is_an_error():
    with pytest.raises(FloatingPointError, match="training loss"):
        fit(PARTS, **OF_TINY, recipe={**RECIPE, "learning_rate": 1e30, "warmup_share": 0.0})


# ---- batches


@given(st.integers(0, 99), st.integers(2, 9), st.integers(0, 12))
@settings(max_examples=30, deadline=None)
def test_stretches_are_cut_to_the_shortest_and_lie_inside_of_their_recording(seed, n, longest):
    rng = np.random.default_rng(seed)
    rows = torch.from_numpy(rng.choice(len(LABEL), n, replace=False))
    data = Steps.of(SEQUENCES, [ROWS])
    found = batches.cut(data, rows, longest=longest, generator=torch.Generator().manual_seed(seed))
    steps = min(int(SEQUENCES.length[rows].min()), longest or 10**9)
    assert found.shape == (n, steps, 12)
    for row, one in zip(rows.tolist(), found.numpy(), strict=True):
        own = SEQUENCES[row]
        assert any(np.array_equal(one, own[k : k + steps]) for k in range(len(own) - steps + 1))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 4), st.integers(1, 20))
@settings(max_examples=50, deadline=None)
def test_views_cover_a_recording_from_its_beginning_to_its_end(lengths, crops, crop_steps):
    of, first, steps = batches.views(np.array(lengths), crops=crops, crop_steps=crop_steps)
    assert sorted(set(of.tolist())) == list(range(len(lengths)))
    for number, n in enumerate(lengths):
        begin, size = first[of == number], steps[of == number]
        assert (begin >= 0).all() and (begin + size <= n).all()
        whole = crops == 0 or n <= crop_steps
        assert len(begin) == (1 if whole else crops) and (size == (n if whole else crop_steps)).all()
        assert begin[0] == 0 and (whole or crops == 1 or begin[-1] + size[-1] == n)


@pytest.mark.parametrize(("n", "batch_size", "used"), [(63, 32, 32), (64, 32, 64), (20, 32, 20)])
def test_rows_beyond_full_batches_are_drawn_anew_so_that_all_are_learned_from(n, batch_size, used):
    generator, seen = torch.Generator().manual_seed(0), np.zeros(n, dtype=int)
    for _ in range(60):
        some = training._for_full_batches(np.arange(n), batch_size=batch_size, generator=generator)
        assert len(some) == len(set(some.tolist())) == used
        seen[some] += 1
    assert seen.min() > 0.5 * seen.mean(), "a row is hardly ever learned from"


def test_the_longest_recordings_are_learned_from_where_a_batch_is_not_full():
    rows = PARTS.train[:63]
    longest = rows[np.argsort(SEQUENCES.length[rows])[-31:]]
    told = LABEL.copy()
    told[longest] = (told[longest] + 1) % 4
    parts = Parts(rows, PARTS.validation, PARTS.predict, seed=3)
    one, other = (
        fit(parts, **{**OF_TINY, "label": label}, recipe={**RECIPE, "epochs": 2, "batch_size": 32})
        for label in (LABEL, told)
    )
    assert not np.array_equal(one.posterior, other.posterior)
