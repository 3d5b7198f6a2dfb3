"""Training models of sequences: what goes in, what stops it, what comes out, and that it is the same twice."""

import pickle
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emolib import models, sequences
from emolib.cross_fitting import Parts, cross_fit
from emolib.folds import make_folds
from emolib.ragged import Ragged
from emolib.sequences import batches
from emolib.sequences.fitting import HISTORY_COLUMNS

SMALL = {
    "bilstm_attention": {"units": 8},
    "temporal_convolution": {"units": 8, "layers": 2},
    "transformer": {"units": 16, "layers": 1, "heads": 2, "feedforward": 32},
}
TINY = {"epochs": 2, "batch_size": 16}
N, F = 120, 3


def made(seed=0):
    """Class 0 is a hill and then a valley, class 1 a valley and then a hill, class 2 neither: order decides."""
    rng = np.random.default_rng(seed)
    label = np.arange(N) % 3
    some = []
    for k in label:
        one = rng.normal(0, 0.2, (rng.integers(12, 30), F))
        at = rng.integers(0, len(one) - 10)
        one[at : at + 5, 0] += (3, -3, 0)[k]
        one[at + 5 : at + 10, 0] += (-3, 3, 0)[k]
        some.append(one)
    order = rng.permutation(N)
    rows = {"train": np.sort(order[:60]), "validation": np.sort(order[60:80]), "predict": np.sort(order[50:])}
    return Ragged.of_list(some), label, Parts(**rows, seed=7)


@pytest.mark.parametrize("name", list(SMALL))
def test_order_in_time_is_learned(name):
    data, label, parts = made()
    recipe = {"epochs": 40, "patience": 40, "batch_size": 16, "learning_rate": 1e-2}
    of = {"model": name, "options": SMALL[name], "recipe": recipe}
    done = sequences.fit(parts, sequences=data, label=label, n_classes=3, **of)
    unseen = ~np.isin(parts.predict, np.union1d(parts.train, parts.validation))
    said = done.posterior[unseen].argmax(1)
    assert unseen.sum() == 40 and np.mean(said == label[parts.predict[unseen]]) > 0.75
    history = done.tables["history"]
    assert list(history.columns) == [*HISTORY_COLUMNS] and history["kept"].sum() == 1
    assert history["kept"].idxmax() == history["validation_accuracy"].idxmax()  # the first of the best


@pytest.mark.parametrize("name", list(SMALL))
def test_a_seed_is_the_same_bits_and_the_global_generator_is_left_alone(name):
    data, label, parts = made()
    fit = partial(sequences.fit, sequences=data, label=label, n_classes=3, model=name, options=SMALL[name], recipe=TINY)
    fit = pickle.loads(pickle.dumps(fit))
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    first = fit(parts)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(4)
    np.testing.assert_array_equal(first.posterior, fit(parts).posterior)
    other = fit(Parts(parts.train, parts.validation, parts.predict, 8))
    assert (first.posterior != other.posterior).any()


def test_attention_is_of_measured_steps_and_names_them():
    data, label, parts = made()
    values = data.values.copy()
    row = int(parts.predict[4])
    gap = [0, 3, 4]
    values[data.start[row] + np.array(gap), 1] = np.nan
    holed = Ragged(values, data.length)
    options = {"sequences": holed, "label": label, "n_classes": 3, "options": SMALL["bilstm_attention"], "recipe": TINY}
    done = sequences.fit(parts, **options)
    table = done.tables["attention"]
    assert list(table.columns) == ["row", "step", "weight"] and set(table["row"]) == set(parts.predict)
    np.testing.assert_allclose(table.groupby("row")["weight"].sum(), 1, atol=1e-5)
    steps = table.loc[table["row"] == row, "step"].tolist()
    assert steps == [step for step in range(data.length[row]) if step not in gap]
    # dropped, not filled: the same as a sequence that never had these steps
    shorter = [np.delete(data[k], gap, axis=0) if k == row else data[k] for k in range(N)]
    same = sequences.fit(parts, **(options | {"sequences": Ragged.of_list(shorter)}))
    np.testing.assert_array_equal(done.posterior, same.posterior)
    assert "attention" not in sequences.fit(parts, **options, keep_attention=False).tables
    without = options | {"options": {"units": 8, "attention_layers": 0}}
    assert set(sequences.fit(parts, **without).tables) == {"history"}


def test_scaling_is_of_training_steps_only():
    data, label, parts = made()
    values = data.values.copy()
    values[:, 2] = 4.0  # constant
    test_only = np.setdiff1d(parts.predict, np.union1d(parts.train, parts.validation))
    for row in test_only:
        values[data.start[row] : data.start[row] + data.length[row]] *= 100
    shifted = Ragged(values, data.length)
    options = {"label": label, "n_classes": 3, "options": SMALL["bilstm_attention"], "recipe": TINY}
    done = sequences.fit(parts, sequences=shifted, **options, keep_weights=True)
    state = sequences.state_of(done.tables["weights"])
    training = np.concatenate([shifted[row] for row in parts.train]).astype(np.float64)
    np.testing.assert_allclose(state["centre"], training.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(state["scale"][:2], training.std(0)[:2], rtol=1e-5)
    assert state["scale"][2] == 1
    plain = sequences.fit(
        parts, sequences=shifted, **(options | {"recipe": TINY | {"scaling": "none"}}), keep_weights=True
    )
    assert (sequences.state_of(plain.tables["weights"])["scale"] == 1).all()


@pytest.mark.parametrize("name", list(SMALL))
def test_weights_answer_again_from_a_table_and_from_a_file(name, tmp_path):
    data, label, parts = made()
    of = {"model": name, "options": SMALL[name]}
    done = sequences.fit(parts, sequences=data, label=label, n_classes=3, recipe=TINY, keep_weights=True, **of)
    done.tables["weights"].to_parquet(tmp_path / "weights.parquet", index=False)
    state = sequences.state_of(pd.read_parquet(tmp_path / "weights.parquet"))
    again = sequences.predict(state, sequences=data, rows=parts.predict, **of)
    np.testing.assert_allclose(again.posterior, done.posterior, atol=1e-6)
    pd.testing.assert_frame_equal(again.attention, done.tables["attention"], atol=1e-6)
    file = tmp_path / "weights.safetensors"
    models.save_weights(file, state, model=name, classes=("a", "b", "c"), options=SMALL[name])
    read = models.load_weights(file)
    some = np.array([5, 2, 5])
    from_file = sequences.predict(read.state, sequences=data, rows=some, model=read.model, options=read.options)
    np.testing.assert_array_equal(from_file.posterior[0], from_file.posterior[2])
    whole = sequences.predict(state, sequences=data, rows=np.arange(N), **of)
    np.testing.assert_allclose(from_file.posterior, whole.posterior[some], atol=1e-6)


def test_weights_that_do_not_fit_are_refused():
    data, label, parts = made()
    done = sequences.fit(
        parts, sequences=data, label=label, n_classes=3, options={"units": 8}, recipe=TINY, keep_weights=True
    )
    table = done.tables["weights"]
    state = sequences.state_of(table)
    asked = {"sequences": data, "rows": np.arange(3)}
    with pytest.raises(ValueError, match="do not fit 'bilstm_attention'"):
        sequences.predict(state, **asked, model="bilstm_attention")
    with pytest.raises(ValueError, match="'centre' is missing"):
        sequences.predict({}, **asked, model="bilstm_attention")
    wide = Ragged(np.zeros((4, F + 1), np.float32), np.array([4]))
    with pytest.raises(ValueError, match="4 features, the weights are for 3"):
        sequences.predict(state, sequences=wide, rows=np.array([0]), model="bilstm_attention")
    with pytest.raises(ValueError, match="is there twice"):
        sequences.state_of(pd.concat([table, table]))
    with pytest.raises(ValueError, match="2 values for shape"):
        sequences.state_of(pd.DataFrame({"tensor": ["a"], "shape": [[3]], "values": [[0.0, 1.0]]}))
    with pytest.raises(ValueError, match=r"column\(s\) shape, values missing"):
        sequences.state_of(pd.DataFrame({"tensor": ["a"]}))


def doubled(values, length, generator):
    """An augmentation: as large again, and a step shorter."""
    assert values.shape[1] == length.max()
    return values + 100 * torch.rand(1, generator=generator), (length - 1).clamp(min=1)


def test_an_augmentation_changes_training_only():
    data, label, parts = made()
    recipe = {"epochs": 1, "batch_size": 64, "learning_rate": 1e-12}
    options = {"label": label, "n_classes": 3, "options": {"units": 8}, "recipe": recipe, "sequences": data}
    plain = sequences.fit(parts, **options)
    changed = sequences.fit(parts, **options, augment=doubled)
    # nothing was learned at this rate, so answers are equal, while the training's loss saw other values
    np.testing.assert_allclose(plain.posterior, changed.posterior, atol=1e-6)
    losses = [one.tables["history"]["train_loss"].iloc[0] for one in (plain, changed)]
    assert abs(losses[0] - losses[1]) > 1e-4


def test_it_goes_through_cross_fit_in_processes():
    data, label, _ = made()
    table = pd.DataFrame({"performance": [f"v{k}" for k in range(N)], "subject": [f"s{k // 6}" for k in range(N)]})
    table["label"] = label
    folds = make_folds(table, n_folds=3, protocol="nested", seed=1)
    fit = partial(sequences.fit, sequences=data, label=label, n_classes=3, options={"units": 4}, recipe=TINY)
    done = cross_fit(fit, table, folds=folds, seeds=[1, 2], classes=("a", "b", "c"), workers=2, progress=False)
    assert set(done.tables) == {"history", "attention"}
    attention = done.tables["attention"]
    assert list(attention.columns) == ["step", "weight", "performance", "fold", "seed", "inner"]
    sums = attention.groupby(["performance", "fold", "seed"])["weight"].sum()
    assert len(sums) == len(done.posteriors) == 2 * 3 * N
    np.testing.assert_allclose(sums, 1, atol=1e-5)


# ---- batches


@given(st.lists(st.integers(1, 30), min_size=1, max_size=60), st.integers(1, 9), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_batches_hold_every_row_once(lengths, batch_size, seed):
    length = torch.tensor(lengths)
    rows = np.arange(len(lengths))
    generator = torch.Generator().manual_seed(seed)
    for found in (
        batches.drawn(rows, length, batch_size=batch_size, generator=generator),
        batches.in_order(rows, length, batch_size=batch_size),
    ):
        assert sorted(torch.cat(found).tolist()) == rows.tolist()
        assert max(map(len, found)) <= batch_size


def test_batches_of_like_length_waste_little():
    length = torch.from_numpy(np.random.default_rng(0).integers(70, 140, 1150))
    generator = torch.Generator().manual_seed(0)
    found = batches.drawn(np.arange(1150), length, batch_size=64, generator=generator)
    read = sum(int(length[batch].max()) * len(batch) for batch in found)
    assert read < 1.08 * int(length.sum())
    again = batches.drawn(np.arange(1150), length, batch_size=64, generator=generator)
    assert [batch.tolist() for batch in found] != [batch.tolist() for batch in again]


def test_a_crop_is_a_part_of_its_sequence():
    data, _, _ = made()
    steps = batches.Steps.of(data, [np.arange(N)])
    rows, generator = torch.arange(N), torch.Generator().manual_seed(0)
    first, n_steps = steps.cropped(rows, max_steps=15, generator=generator)
    assert (n_steps == steps.length.clamp(max=15)).all() and (first >= 0).all()
    assert (first + n_steps <= steps.length).all() and first.unique().numel() > 5
    values = steps.padded(rows, first=first, n_steps=n_steps)
    assert values.shape == (N, 15, F)
    for row in range(N):
        part = data[row][int(first[row]) : int(first[row] + n_steps[row])]
        np.testing.assert_array_equal(values[row, : len(part)], part)


def test_long_sequences_can_be_cropped_in_training():
    data, label, parts = made()
    options = {"sequences": data, "label": label, "n_classes": 3, "options": {"units": 4}}
    done = sequences.fit(parts, **options, recipe=TINY | {"max_steps": 10})
    assert done.tables["attention"].groupby("row").size().loc[parts.predict].tolist() == [
        data.length[row] for row in parts.predict
    ]


# ---- what is not allowed


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"recipe": {"max_steps": -1}}, ValueError, "max_steps = -1 received"),
        ({"recipe": {"scaling": "minmax"}}, ValueError, "'minmax' received, allowed are standard, none"),
        ({"recipe": {"horizontal_flip": True}}, ValueError, "horizontal_flip = True received, sequences have no"),
        ({"recipe": {"label_smoothing": 1}}, ValueError, "label_smoothing = 1 received"),
        ({"recipe": {"epoch": 1}}, TypeError, "epoch"),
        ({"model": "gru"}, ValueError, "'gru' received"),
        ({"label": np.zeros(3, int)}, ValueError, r"label: \(3,\) received, one for each of the 120"),
        ({"label": np.full(N, 9)}, ValueError, "label, row 0: 9 received, 0 to 2"),
    ],
)
def test_what_is_not_allowed_is_named(change, error, says):
    data, label, _ = made()
    parts = Parts(np.arange(30), np.arange(30, 60), np.arange(60, 90), 1)
    with pytest.raises(error, match=says):
        sequences.fit(parts, **({"sequences": data, "label": label, "n_classes": 3, "recipe": TINY} | change))


def test_a_sequence_without_a_measured_step_is_named_where_it_is_used():
    data, label, _ = made()
    values = data.values.copy()
    values[data.start[8] : data.start[9], 0] = np.nan
    holed = Ragged(values, data.length)
    options = {"sequences": holed, "label": label, "n_classes": 3, "recipe": TINY, "options": {"units": 4}}
    with pytest.raises(ValueError, match=rf"row 8: all of its {data.length[8]} step\(s\) hold a NaN"):
        sequences.fit(Parts(np.arange(30), np.arange(30, 60), np.arange(60, 90), 1), **options)
    done = sequences.fit(Parts(np.arange(10, 30), np.arange(30, 60), np.arange(60, 90), 1), **options)
    assert np.isfinite(done.posterior).all()
    with pytest.raises(ValueError, match="validation is empty"):
        sequences.fit(Parts(np.arange(10, 30), np.arange(0), np.arange(60, 90), 1), **options)
    with pytest.raises(ValueError, match="rows 10 to 120 received, 0 to 119"):
        sequences.fit(Parts(np.arange(10, 30), np.arange(30, 60), np.arange(60, 121), 1), **options)


def test_class_weights_and_loss_as_monitor():
    data, label, parts = made()
    options = {"sequences": data, "label": label, "n_classes": 3, "options": {"units": 4}}
    recipe = TINY | {"epochs": 6, "monitor": "loss", "class_weights": True, "learning_rate": 1e-2}
    history = sequences.fit(parts, **options, recipe=recipe).tables["history"]
    assert history.loc[history["kept"], "validation_loss"].item() == history["validation_loss"].min()
    stopped = sequences.fit(parts, **options, recipe=recipe | {"epochs": 50, "patience": 1, "learning_rate": 1e-12})
    assert len(stopped.tables["history"]) < 50
