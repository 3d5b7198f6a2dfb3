"""Training on stills as notebook 02 does it: what is used, who learns from what, the complete model, transfer."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from emolib import folds, frames, models, posteriors, runs, stills_training, training
from emolib.engines.checks import check_members
from emolib.engines.plan import Network
from emolib.folds import Fold

CLASSES = ("neutral", "positive", "negative")
N = 120
OPTIONS = {"model": "baseline", "n_classes": 3}


def a_store(**arrays):
    manifest = pd.DataFrame({"sample": np.arange(N), "subject": [f"s{k}" for k in range(N)], "face_ok": True})
    manifest["split"] = np.where(np.arange(N) % 4 == 0, "validation", "train")
    manifest.loc[5, "face_ok"] = False
    return SimpleNamespace(manifest=manifest, array=arrays.__getitem__, array_names=sorted(arrays))


LABEL = np.where(np.arange(N) == 7, -1, np.arange(N) % 3)


# ---- which stills


def test_stills_without_a_face_or_a_class_are_not_used():
    chosen = stills_training.usable(a_store(), LABEL)
    assert np.flatnonzero(~chosen).tolist() == [5, 7]


def test_splits_and_stills_without_landmarks_are_left_out_where_that_is_asked_for():
    points = np.zeros((N, 68, 2), np.float32)
    points[[10, 11]] = np.nan
    store = a_store(landmarks=points)
    assert stills_training.usable(store, LABEL, used_splits=["validation"]).sum() == N // 4
    kept, left_out = (stills_training.usable(store, LABEL, without_landmarks=how) for how in ("keep", "leave_out"))
    assert np.flatnonzero(kept & ~left_out).tolist() == [10, 11]


def test_a_part_of_the_stills_is_drawn_by_class_and_by_seed():
    alone = {"max_pictures": 30, "groups": np.arange(N)}
    first, again, other = (stills_training.usable(a_store(), LABEL, **alone, seed=s) for s in (1, 1, 2))
    assert first.sum() == 30 and (np.bincount(LABEL[first]) == 10).all() and not first[[5, 7]].any()
    assert (first == again).all() and (first != other).any()
    assert stills_training.usable(a_store(), LABEL, max_pictures=1000).sum() == N - 2


def test_copies_are_drawn_together():
    pairs = np.arange(N) // 2
    chosen = stills_training.usable(a_store(), LABEL // 2, max_pictures=30, groups=pairs, seed=1)
    per_pair = np.bincount(pairs[chosen], minlength=N // 2)
    assert set(per_pair[np.setdiff1d(np.arange(N // 2), [2, 3])]) == {0, 2}  # of pair 2 one has no face, of 3 no class
    assert 24 <= chosen.sum() <= 30


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"used_splits": ["test"]}, r"\['test'\] received, the corpus has \['train', 'validation'\]"),
        ({"without_landmarks": "drop"}, "'drop' received, keep or leave_out"),
        ({"without_landmarks": "leave_out"}, "nobody looked for landmarks"),
        ({"max_pictures": -1}, "max_pictures = -1: 0 .all. or more is allowed"),
        ({"max_pictures": 1}, "max_pictures = 1: none of class 0"),
    ],
)
def test_choices_that_cannot_be_made_are_errors(options, says):
    with pytest.raises(ValueError, match=says):
        stills_training.usable(a_store(), LABEL, groups=np.arange(N), **options)


# ---- who learns from what


def with_copies():
    images = np.random.default_rng(0).integers(0, 256, (N, 48, 48), dtype=np.uint8)
    images[60:] = images[:60]  # every picture twice
    store = a_store(image=images)
    store.manifest["split"] = ""
    return stills_training.with_groups(store.manifest, images), images


ASKED = {"protocol": "nested", "seed": 3, "validation_share": 0.25, "test_share": 0.25}


@pytest.mark.parametrize("protocol", folds.PROTOCOLS)
@pytest.mark.parametrize("n_folds", [0, 3])
def test_copies_stay_together_unless_that_is_not_asked_for(n_folds, protocol):
    manifest, _ = with_copies()
    group = manifest["duplicate_group"].to_numpy()
    assert len(set(group)) == 61  # 60 pairs, and the still without a face is alone
    label, usable, copies = np.arange(N) % 60 % 3, manifest["face_ok"].to_numpy(), {}
    for together in (True, False):
        asked = ASKED | {"protocol": protocol, "keep_duplicates_together": together}
        parts = stills_training.make_parts(manifest, label, usable, n_folds=n_folds, **asked)
        assert len(parts) == max(1, n_folds)
        assert all((np.array_equal(part.validation, part.test)) == (protocol == "reference") for part in parts)
        copies[together] = stills_training.account(parts, group)["copies_learned"].sum()
    assert copies[True] == 0 < copies[False]


def test_people_stay_together_as_their_copies_do():
    manifest, images = with_copies()
    manifest["subject"] = [f"s{k // 2}" for k in range(N)]  # of two pictures and their copies
    group = stills_training.with_groups(manifest, images)["duplicate_group"].to_numpy()
    assert group[0] == group[1] == group[60] == group[61] != group[2]


def test_the_account_counts_stills_and_copies_by_hand():
    parts = [
        Fold(0, np.array([0, 1, 2]), np.array([3]), np.array([4, 5])),
        Fold(1, np.array([4, 5]), np.array([3]), np.array([0])),
    ]
    table = stills_training.account(parts, np.array([9, 8, 7, 6, 9, 5]))
    assert table.to_dict("list") == {
        "fold": [0, 1], "train": [3, 2], "validation": [1, 1], "test": [2, 1], "copies_learned": [1, 1],
    }  # fmt: skip
    assert stills_training.part_names(parts, 7).tolist() == [
        "test, fold 1", "", "", "", "test, fold 0", "test, fold 0", "",
    ]  # fmt: skip
    assert stills_training.part_names(parts[:1], 7).tolist() == ["train"] * 3 + ["validation"] + ["test"] * 2 + [""]


def test_a_member_that_stops_on_its_training_rows_says_so():
    rows, network = np.arange(6), Network("baseline", 3, {})
    label = np.arange(6) % 3
    check_members([training.Member("m", rows, rows, 0, stops_on_training=True)], label, network)
    with pytest.raises(ValueError, match="'m': 6 row"):
        check_members([training.Member("m", rows, rows, 0)], label, network)
    with pytest.raises(ValueError, match="'m': it stops on its training rows, but train and validation differ"):
        check_members([training.Member("m", rows, rows[:3], 0, stops_on_training=True)], label, network)


# ---- training


@pytest.fixture(scope="module")
def trained():
    """Two folds and the complete model of small noise pictures whose brightness says their class."""
    rng = np.random.default_rng(0)
    label = np.arange(N) % 3
    images = (rng.integers(0, 60, (N, 48, 48)) + 90 * label[:, None, None]).astype(np.uint8)
    manifest = a_store().manifest.assign(split="", face_ok=True)
    manifest = stills_training.with_groups(manifest, images)
    usable = np.ones(N, dtype=bool)
    asked = ASKED | {"keep_duplicates_together": True, "n_folds": 2}
    parts = stills_training.make_parts(manifest, label, usable, **asked)
    members = stills_training.members(parts, usable, complete=True, seed=1)
    recipe = training.Recipe(epochs=6, patience=6, batch_size=16, learning_rate=3e-3)
    done = training.train_stack(images, None, label, members, recipe=recipe, workers=1, progress=False, **OPTIONS)
    return SimpleNamespace(parts=parts, members=members, done=done, images=images, label=label)


def test_the_complete_model_learns_from_all_and_stops_on_its_training_accuracy(trained):
    member, model = trained.members[-1], trained.done[-1]
    assert member.name == model.name == "complete" and len(member.train) == N
    posterior = posteriors.predict(trained.images, None, np.arange(N), state=model.state, **OPTIONS)
    of_training = (posterior.argmax(1) == trained.label).mean()
    assert model.history["validation_accuracy"].max() == pytest.approx(of_training)
    assert "complete (training accuracy)" in stills_training.histories(trained.done)


def test_each_fold_s_model_answers_its_own_stills(trained):
    judged = stills_training.predict(trained.parts, trained.done, trained.images, None, **OPTIONS)
    for subset, (rows, posterior, fold) in judged.items():
        for part, one in zip(trained.parts, trained.done, strict=False):
            wanted = getattr(part, subset)
            assert rows[fold == part.fold].tolist() == wanted.tolist()
            alone = posteriors.predict(trained.images, None, wanted, state=one.state, **OPTIONS)
            np.testing.assert_allclose(posterior[fold == part.fold], alone, atol=1e-6)
    assert sorted(judged["test"][0]) == list(range(N))


@pytest.mark.parametrize(
    ("n_parts", "complete", "files", "learned_from"),
    [
        (2, True, ["fold0", "fold1", "weights"], "all stills, stopped on training accuracy"),
        (2, False, ["fold0", "fold1"], "none"),
        (1, False, ["weights"], "the training part"),
        (1, True, ["weights"], "all stills, stopped on training accuracy"),
    ],
)
def test_weights_are_the_complete_model_s_or_those_of_the_one_split(
    trained, tmp_path, n_parts, complete, files, learned_from
):
    parts, models_ = trained.parts[:n_parts], trained.done[:n_parts] + trained.done[2:] * complete
    run = SimpleNamespace(folder=tmp_path)
    assert stills_training.save_weights(run, parts, models_, model="baseline", classes=CLASSES) == learned_from
    assert sorted(file.stem for file in tmp_path.glob("*.safetensors")) == files
    if "weights" in files:
        state = models.load_weights(tmp_path / "weights.safetensors").state
        expected = trained.done[2 if complete else 0].state
        assert all((state[name] == expected[name]).all() for name in expected)


# ---- transfer


def start(tmp_path, trained, classes, *, model="baseline", learned_from="corpora/other-1", images=None):
    stills_training.save_weights(
        SimpleNamespace(folder=tmp_path), trained.parts[:1], trained.done[:1], model="baseline", classes=CLASSES
    )
    metrics = {"store": learned_from} if learned_from else {}
    upstream = runs.Upstream(tmp_path, {"stage": "pretraining", "variant": "x", "metrics": metrics})
    store = a_store(image=noise(1) if images is None else images)
    store.corpus = "one"
    return stills_training.start_state(upstream, model=model, classes=classes, store=store)


def noise(seed):
    return np.random.default_rng(seed).integers(0, 256, (N, 48, 48), dtype=np.uint8)


@pytest.fixture
def their_store(tmp_path, monkeypatch):
    """A store of the corpus `one` below the data folder, with the pictures of `noise(2)`."""
    monkeypatch.setenv("EMOLIB_DATA", str(tmp_path))
    texts = dict.fromkeys(("source", "video", "subject", "split"), "x")
    rows = pd.DataFrame(texts | dict.fromkeys(frames.BOX_COLUMNS, np.nan), index=range(N))
    rows = rows.assign(face_ok=True, frame=0, time_s=0.0, label=0)
    with frames.FrameStoreWriter(tmp_path / "corpora" / "one-2", corpus="one", label_space="valence3") as writer:
        writer.append(rows, {"image": noise(2)})
    return "corpora/one-2"


@pytest.mark.parametrize(
    ("classes", "fresh"),
    [
        (CLASSES, []),
        (("negative", "neutral", "positive"), ["classifier.bias", "classifier.weight"]),  # as many, but others
        (("a", "b", "c", "d"), ["classifier.bias", "classifier.weight"]),
    ],
)
def test_only_a_last_layer_for_other_classes_starts_afresh(tmp_path, trained, classes, fresh):
    state, report = start(tmp_path, trained, classes)
    assert sorted(report.replaced + report.missing) == fresh
    network = models.build("baseline", len(classes))
    assert sorted(report.taken + fresh) == sorted(network.state_dict())
    member = training.Member("m", np.arange(3), np.arange(3, 6), 0, initial=state)
    check_members([member], np.arange(6) % 3, Network("baseline", len(classes), {}))


def test_a_start_from_models_that_learned_from_the_tested_stills_is_refused(tmp_path, trained, their_store):
    assert start(tmp_path, trained, CLASSES, learned_from=their_store)[1].taken  # the same corpus, but other pictures
    shared = noise(1)
    shared[[3, 4, 5]] = noise(2)[[30, 40, 50]]  # still 5 has no face here
    with pytest.raises(ValueError, match="'pretraining/x' learned from corpora/one-2, of whose stills 2 may be tested"):
        start(tmp_path, trained, CLASSES, learned_from=their_store, images=shared)
    with pytest.raises(ValueError, match="corpora/one-3, of the same corpus, which is gone"):
        start(tmp_path, trained, CLASSES, learned_from="corpora/one-3")
    with pytest.raises(ValueError, match="does not say which stills"):
        start(tmp_path, trained, CLASSES, learned_from="")


def test_a_start_that_does_not_fit_is_refused(tmp_path, trained):
    with pytest.raises(ValueError, match="weights.safetensors is of network 'baseline', 'original' is allowed here"):
        start(tmp_path, trained, CLASSES, model="original")
    (tmp_path / "weights.safetensors").unlink()
    upstream = runs.Upstream(tmp_path, {"stage": "pretraining", "variant": "x", "metrics": {"store": "a-1"}})
    with pytest.raises(FileNotFoundError, match="models of folds alone; make that run with complete = True"):
        place = {"model": "baseline", "classes": CLASSES, "store": SimpleNamespace(corpus="b")}
        stills_training.start_state(upstream, **place)
