"""Published posteriors, attention and mean action units: the real files, and made ones of their form."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax

from emolib import labels, openface, performance_results, published_posteriors
from emolib.folds import RAVDESS_FOLDS

REAL = Path(__file__).parents[1] / "../shared/data/ravdess_au_posteriors.zip"
CLASSES = labels.names("ravdess8")
UNITS = [*openface.INTENSITIES, *openface.PRESENCES]


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    if not REAL.is_file():
        pytest.skip("../shared/data/ravdess_au_posteriors.zip is not here")
    folder = tmp_path_factory.mktemp("published")
    with zipfile.ZipFile(REAL) as archive:
        archive.extractall(folder)
    return folder


def names() -> list[str]:
    """A performance an actor and two emotions, emotion by actor."""
    return [f"01-01-{1 + (actor + k) % 8:02d}-01-01-01-{actor:02d}" for actor in range(1, 25) for k in (0, 3)]


def posterior(name: str, fold: int) -> np.ndarray:
    """What the made models say, in the order of `ravdess8`."""
    return np.random.default_rng([*map(int, name.split("-")), fold]).dirichlet(np.ones(8))


def in_mmer8(said: np.ndarray) -> np.ndarray:
    """Logits in the other order of classes, by names and not by the library's mapping; any constant may be added."""
    own = {labels.emotion(name): value for name, value in zip(CLASSES, said, strict=True)}
    return np.log([own[labels.emotion(name)] for name in labels.names("mmer8")]) + 1.5


def parts(fold: int) -> dict[str, list[str]]:
    tested = [name for name in names() if name[-2:] in RAVDESS_FOLDS[fold]]
    return {"train": [name for name in names() if name not in tested], "test": tested}


@pytest.fixture
def made(tmp_path):
    """All files of the published form, small."""
    for folder in ("au_bilstm", "au_mlp", "au_mean", *(f"wav2vec/fold{fold}" for fold in range(5))):
        (tmp_path / folder).mkdir(parents=True)
    embs = [f"embs{k}" for k in range(8)]
    for fold in range(5):
        for part, who in parts(fold).items():
            said = [posterior(name, fold) for name in who]
            logits = [in_mmer8(one) for one in said]
            emotion = [labels.names("mmer8")[labels.MAPPINGS["ravdess8->mmer8"][int(name[6:8]) - 1]] for name in who]
            lists = {"posteriors": [json.dumps(list(one)) for one in logits]}
            lists["attentions"] = [json.dumps([0.25, 0.5, 0.25][: 1 + 2 * (row % 2)]) for row in range(len(who))]
            lists["attentions"] = ["[1.0]" if one == "[0.25]" else one for one in lists["attentions"]]
            table = pd.DataFrame({"tag": [f"{name}.csv" for name in who], "y": emotion, "y_hat": "calm", **lists})
            number, word = fold + 1, {"train": "train", "test": "val"}[part]
            file = tmp_path / f"au_bilstm/RAVDESS_AUs-{word}--fold_{number}_outof_5.csv"
            table.to_csv(file, sep="\t", index=False, quoting=3)
            mlp = pd.DataFrame(said, columns=embs).assign(video_name=who)
            mlp.to_csv(tmp_path / f"au_mlp/{part}_fold{fold}.csv", sep=";", index=False)
            speech = pd.DataFrame(logits, columns=embs).assign(name=who, emotion=[e.capitalize() for e in emotion])
            speech.to_csv(tmp_path / f"wav2vec/fold{fold}/posteriors_{part}.csv", sep=";", index=False)
    means = pd.DataFrame(np.random.default_rng(0).random((48, 35)), columns=UNITS)
    means.assign(speech=0.5, name=names()).to_csv(tmp_path / "au_mean/df_average_AUs_total.csv", sep=";", index=False)
    return tmp_path


@pytest.mark.parametrize("name", published_posteriors.NAMES)
def test_a_posterior_is_the_models_whatever_the_order_of_its_classes(made, name):
    table = published_posteriors.read(made, name)
    assert len(table) == 5 * 48 and set(table["seed"]) == {2020}
    for row in table.sample(20, random_state=0).itertuples():
        expected = posterior(f"01-{row.performance}", row.fold)
        np.testing.assert_allclose([getattr(row, f"p_{one}") for one in CLASSES], expected, atol=1e-6)
        assert row.subset == ("test" if row.performance[-2:] in RAVDESS_FOLDS[row.fold] else "train")


@pytest.mark.parametrize("subset", ["train", "test"])
def test_a_subset_is_what_all_has_of_it(made, subset):
    every = published_posteriors.read(made, "wav2vec")
    one = published_posteriors.read(made, "wav2vec", subset=subset)
    pd.testing.assert_frame_equal(one, every[every["subset"] == subset].reset_index(drop=True))


@pytest.mark.parametrize("name", ["wav2vec", "au_bilstm"])
def test_log_posteriors_and_constants_are_the_published_logits(made, name):
    constant = published_posteriors.logit_constants(made, name)
    assert list(constant) == ["performance", "fold", "subset", "constant"] and len(constant) == 240
    both = published_posteriors.read(made, name).merge(constant, on=["performance", "fold", "subset"])
    assert len(both) == 240
    np.testing.assert_allclose(both["constant"], 1.5, atol=1e-6, err_msg="what was added to made log posteriors")
    logits = np.log(both[[f"p_{one}" for one in CLASSES]].to_numpy(np.float64)) + both[["constant"]].to_numpy()
    for row in range(0, 240, 17):
        expected = np.log(posterior(f"01-{both['performance'][row]}", both["fold"][row])) + 1.5
        np.testing.assert_allclose(logits[row], expected, atol=1e-4)


def test_probabilities_have_no_logits(made):
    with pytest.raises(ValueError, match="'au_mlp' has no logits"):
        published_posteriors.logit_constants(made, "au_mlp")
    with pytest.raises(ValueError, match="'hubert': one of"):
        published_posteriors.logit_constants(made, "hubert")


def test_performances_come_from_the_ids(made):
    known = published_posteriors.performances_of(published_posteriors.read(made, "au_mlp"))
    assert len(known) == 48 and known["performance"].is_monotonic_increasing
    row = known.set_index("performance").loc["01-02-01-01-01-01"]
    assert (row["subject"], row["label"]) == ("01", 1)


def test_attention_is_a_row_a_step(made):
    table = published_posteriors.attention(made)
    sums = table.groupby("performance")["weight"].agg(["sum", "size"])
    assert len(sums) == 48 and np.allclose(sums["sum"], 1) and set(sums["size"]) == {1, 3}
    long = table[table["performance"] == sums.index[sums["size"] == 3][0]]
    assert long["step"].tolist() == [0, 1, 2] and long["weight"].tolist() == [0.25, 0.5, 0.25]
    assert set(published_posteriors.attention(made, subset="train")["subset"]) == {"train"}


BILSTM, MLP = "au_bilstm/RAVDESS_AUs-val--fold_2_outof_5.csv", "au_mlp/test_fold1.csv"
SPEECH = "wav2vec/fold1/posteriors_test.csv"
ROWS = parts(1)["test"]


@pytest.mark.parametrize(
    ("file", "column", "value", "message"),
    [
        (MLP, "video_name", f"{ROWS[0][:-2]}99", "line 2, column video_name: actor 99 found in test, but actors 03 06"),
        (MLP, "video_name", "01-01-09-01-01-01-03", "column video_name, row 0: '01-01-09"),
        (MLP, "video_name", ROWS[1], "column video_name, names, row 1: performance .* is there twice"),
        (MLP, "embs7", -0.1, r"line 2, column embs0 .*: .*are no probabilities"),
        (BILSTM, "y", "contempt", "line 2, column y: 'contempt' found, the name says 'sad'"),
        (BILSTM, "posteriors", "__import__('os').getcwd()", "line 2, column posteriors: .* a list of finite numbers"),
        (BILSTM, "posteriors", "[1, 2]", "line 2, column posteriors: 2 numbers found, 8 are allowed"),
        (BILSTM, "posteriors", "[1, 2, 3, 4, 5, 6, 7, NaN]", "line 2, column posteriors: .* finite numbers"),
        (BILSTM, "posteriors", "1.5", "line 2, column posteriors: .* finite numbers"),
        (BILSTM, "posteriors", "[" * 100_000, "line 2, column posteriors: .* finite numbers"),
        (SPEECH, "embs2", "x", "line 2, column embs2: 'x' found, a finite number is allowed"),
        (SPEECH, "embs2", "inf", "line 2, column embs2: 'inf' found"),
        (SPEECH, "emotion", "Happy", "line 2, column emotion: 'happy' found"),
    ],
)
def test_a_bad_cell_is_named_with_its_file_line_and_column(made, file, column, value, message):
    separator = "\t" if file == BILSTM else ";"
    table = pd.read_csv(made / file, sep=separator, dtype=str)
    table.loc[0, column] = str(value)
    table.to_csv(made / file, sep=separator, index=False)
    with pytest.raises(ValueError, match=message) as raised:
        published_posteriors.read(made, file.split("/")[0])
    assert Path(file).name in str(raised.value)


@pytest.mark.parametrize(("file", "column"), [(MLP, "embs3"), (MLP, "video_name"), (BILSTM, "posteriors")])
def test_a_column_that_is_missing_is_named(made, file, column):
    separator = "\t" if file == BILSTM else ";"
    pd.read_csv(made / file, sep=separator).drop(columns=column).to_csv(made / file, sep=separator, index=False)
    with pytest.raises(ValueError, match=rf"{Path(file).name}: column\(s\) {column} missing; there are"):
        published_posteriors.read(made, file.split("/")[0])


def test_probabilities_that_are_none_are_named_with_their_line(made):
    table = pd.read_csv(made / MLP, sep=";")
    table.loc[3, "embs0"] += 0.5
    table.to_csv(made / MLP, sep=";", index=False)
    with pytest.raises(ValueError, match="test_fold1.csv, line 5, column embs0 .*are no probabilities"):
        published_posteriors.read(made, "au_mlp")


@pytest.mark.parametrize(
    ("part", "message"), [("test", "is only tested or only learned from"), ("train", "is in 3 folds as train")]
)
def test_a_performance_that_is_missing_somewhere_is_named(made, part, message):
    path = made / f"au_mlp/{part}_fold1.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *lines[2:]]) + "\n")
    with pytest.raises(ValueError, match=message):
        published_posteriors.read(made, "au_mlp")


def test_what_is_unknown_or_not_there_is_refused(made):
    with pytest.raises(ValueError, match="'hubert': one of au_bilstm, au_mlp, wav2vec"):
        published_posteriors.read(made, "hubert")
    with pytest.raises(ValueError, match="subset 'val': one of train, test"):
        published_posteriors.read(made, "au_mlp", subset="val")
    with pytest.raises(ValueError, match="subset 'val'"):
        published_posteriors.attention(made, subset="val")
    (made / MLP).unlink()
    with pytest.raises(FileNotFoundError, match="test_fold1.csv"):
        published_posteriors.read(made, "au_mlp")
    (made / BILSTM).write_text("tag\ty\tposteriors\n")
    with pytest.raises(ValueError, match="no rows"):
        published_posteriors.read(made, "au_bilstm")
    (made / BILSTM).write_text("")
    with pytest.raises(ValueError, match="fold_2_outof_5.csv"):
        published_posteriors.read(made, "au_bilstm")


def test_attention_that_is_no_distribution_is_refused(made):
    path = made / BILSTM
    path.write_text(path.read_text().replace("[0.25, 0.5", "[0.5, 0.5"))
    with pytest.raises(ValueError, match="column attentions: weights sum to 1.25"):
        published_posteriors.attention(made)


def test_mean_action_units_keep_the_files_order(made):
    path = made / "au_mean/df_average_AUs_total.csv"
    shuffled = pd.read_csv(path, sep=";").sample(frac=1, random_state=1)
    shuffled[shuffled.columns[::-1]].to_csv(path, sep=";", index=False)
    known, values, columns = published_posteriors.mean_action_units(path)
    assert list(columns) == UNITS and values.dtype == np.float32 and values.shape == (48, 35)
    assert known["performance"].tolist() == [name[3:] for name in shuffled["name"]]
    np.testing.assert_allclose(values, shuffled[UNITS], rtol=1e-6)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("AU12_r", 5.1, r"line 4, column AU12_r: 5.1 found, a number in \[0, 5\]"),
        ("AU12_c", 1.1, r"line 4, column AU12_c: 1.1 found, a number in \[0, 1\]"),
        ("AU28_c", np.nan, "line 4, column AU28_c: '' found, a finite number"),
        ("name", "01-01-02-01-01-01-01", "is there twice"),
    ],
)
def test_mean_action_units_out_of_range_are_named(made, column, value, message):
    path = made / "au_mean/df_average_AUs_total.csv"
    table = pd.read_csv(path, sep=";")
    table.loc[2, column] = value
    table.to_csv(path, sep=";", index=False)
    with pytest.raises(ValueError, match=message):
        published_posteriors.mean_action_units(path)


@pytest.mark.parametrize(("name", "accuracy"), [("au_bilstm", 62.13), ("au_mlp", 60.22), ("wav2vec", 81.82)])
def test_the_published_accuracies_are_reproduced(real, name, accuracy):
    table = published_posteriors.read(real, name)
    known = published_posteriors.performances_of(table)
    assert len(known) == 1440 and known["label"].value_counts().tolist() == [192] * 7 + [96]
    found = performance_results.summary(table, known, classes=CLASSES).set_index("metric").loc["accuracy"]
    assert round(100 * found["mean_of_folds"], 2) == accuracy
    seen = table[table["subset"] == "train"].merge(known, on="performance")
    right = seen.filter(regex="^p_").to_numpy().argmax(axis=1) == seen["label"]
    assert right.mean() > found["value"] + 0.05, "models know what they learned from"


def test_the_real_logits_name_the_published_answers(real):
    table = published_posteriors.read(real, "au_bilstm", subset="test").set_index("performance")
    raw = pd.read_csv(real / "au_bilstm/RAVDESS_AUs-val--fold_3_outof_5.csv", sep="\t")
    ours = table.loc[raw["tag"].str[3:-4]]
    said = labels.map_labels(ours.filter(regex="^p_").to_numpy().argmax(1), source="ravdess8", target="mmer8")
    assert [labels.names("mmer8")[k] for k in said] == raw["y_hat"].str.lower().tolist()
    logits = np.array([json.loads(one) for one in raw["posteriors"]])
    mapped = np.log(ours.filter(regex="^p_").to_numpy())[:, labels.MAPPINGS["mmer8->ravdess8"]]
    np.testing.assert_allclose(mapped, log_softmax(logits, axis=1), atol=1e-4)


def test_the_real_attention_and_means(real):
    weights = published_posteriors.attention(real)
    sizes = weights.groupby("performance").size()
    assert len(sizes) == 1440 and 90 < sizes.median() < 160, "3 to 5 s, 30 frames a second"
    known, values, columns = published_posteriors.mean_action_units(real / "au_mean/df_average_AUs_total.csv")
    assert values.shape == (1440, 35) and set(known["performance"]) == set(sizes.index) and len(columns) == 35
