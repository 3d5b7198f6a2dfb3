import dataclasses
import json
import os
import shutil
import zipfile
from pathlib import Path

import made_classifiers
import numpy as np
import pandas as pd
import pytest
from made_classifiers import FER
from PIL import Image
from sklearn import metrics
from typer.testing import CliRunner

from emolib import classify, labelled_pictures, model_card, posteriors, still_evaluation
from emolib.classifier import Augmentation, ClassifierRecipe
from emolib.cli import app
from emolib.predict import inputs

FER_ZIP = Path(__file__).parents[1] / "../shared/data/fer2013.zip"


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def draw(path: Path, seed: int, size=(48, 48)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)).save(path)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return made_classifiers.save(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """FER's layout with everything that may go wrong: duplicates, other names, no class, no emotion, no picture."""
    root = tmp_path_factory.mktemp("pictures") / "PrivateTest"
    for number in range(60):
        draw(root / FER[number % 7] / f"PrivateTest_{number}.png", number)
    for copy in range(5):
        shutil.copy(root / "angry" / "PrivateTest_0.png", root / "angry" / f"PublicTest_copy{copy}.png")
    draw(root / "happiness" / "large.png", 100, size=(90, 70))  # another word for happy
    draw(root / "contempt" / "PrivateTest_c.png", 101)
    draw(root / "holiday" / "PrivateTest_h.png", 102)
    (root / "sad" / "notes.txt").write_text("no picture")
    return root


@pytest.fixture(scope="module")
def broken(tmp_path_factory, folder):
    """The same with an empty, a truncated, a damaged and a mislabelled file."""
    root = tmp_path_factory.mktemp("broken") / "PrivateTest"
    shutil.copytree(folder, root)
    content = (root / "sad" / "PrivateTest_4.png").read_bytes()
    head = content[:8] + b"\0\0\0\5" + content[12:]  # Pillow: Truncated IHDR chunk, a ValueError
    damaged = {"empty.jpg": b"", "half.png": content[: len(content) // 2], "head.png": head, "text.jpg": b"text"}
    for name, bad in damaged.items():
        (root / "sad" / f"PrivateTest_{name}").write_bytes(bad)
    return root


# ---- the command


def test_numbers_are_those_of_the_pictures_and_posteriors_that_are_written(weights, folder, tmp_path):
    result = call("evaluate", folder, "--weights", weights, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "evaluation.json").read_text())
    pictures = pd.read_csv(tmp_path / "pictures.csv")
    posterior = posteriors.read(tmp_path / "posteriors.parquet", classes=FER)
    assert (posterior["sample"] == pictures["sample"]).all() and len(pictures) == 66 == found["n_pictures"]
    predicted = posterior.filter(like="p_").to_numpy().argmax(1)
    true = pictures["label"].to_numpy()
    assert found["accuracy"]["value"] == pytest.approx(metrics.accuracy_score(true, predicted))
    assert found["uar"]["value"] == pytest.approx(metrics.balanced_accuracy_score(true, predicted))
    assert found["macro_f1"]["value"] == pytest.approx(metrics.f1_score(true, predicted, average="macro"))
    recall = metrics.recall_score(true, predicted, average=None)
    np.testing.assert_allclose([row["recall"] for row in found["per_class"]], recall)
    confusion = pd.read_csv(tmp_path / "confusion.csv", index_col=0)
    assert (confusion.to_numpy() == metrics.confusion_matrix(true, predicted)).all()
    assert (pictures["predicted"] == np.array(FER)[predicted]).all()
    for metric in ("accuracy", "uar", "macro_f1"):
        assert found[metric]["low"] <= found[metric]["value"] <= found[metric]["high"]
    assert f"{100 * found['accuracy']['value']:.2f} %" in result.output


def test_the_posterior_is_the_classifiers_and_each_picture_its_own(weights, folder, tmp_path):
    assert call("evaluate", folder, "--weights", weights, "--views", 2, "--out", tmp_path).exit_code == 0
    pictures = pd.read_csv(tmp_path / "pictures.csv")
    one = int(pictures.index[pictures["source"] == "happiness/large.png"][0])
    grey = classify.ready_crop(np.array(Image.open(folder / "happiness" / "large.png")))
    expected = classify.load(weights).posterior(grey[None], views=2)[0]
    found = posteriors.read(tmp_path / "posteriors.parquet", classes=FER).filter(like="p_").to_numpy()[one]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert pictures["label"][one] == FER.index("happy") and pictures["class"][one] == "happiness"


def test_duplicates_are_one_picture_in_the_intervals(weights, folder, tmp_path):
    assert call("evaluate", folder, "--weights", weights, "--out", tmp_path).exit_code == 0
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert found["n_different_pictures"] == 61 == found["accuracy"]["n_subjects"]
    groups = pd.read_csv(tmp_path / "pictures.csv").groupby("group").size()
    assert sorted(groups.unique()) == [1, 6]


def test_what_is_left_out_is_counted_and_named(weights, folder):
    result = call("evaluate", folder, "--weights", weights)
    assert "1 picture(s) of 'contempt' dropped: no such class" in result.output
    assert "1 other file(s) or folder(s) left alone, such as sad/notes.txt: no image file (.txt)" in result.output
    assert "1 picture(s) resized" in result.output
    assert "not counted: 1 picture(s), folder 'holiday' names no emotion" in result.output


@pytest.mark.parametrize(
    ("arguments", "counted", "reason"),
    [
        (["{root}"], {"suprise": 3, "Ärger": 2}, "names no emotion"),
        (["{root}", "--only", "PrivateTest_*"], {"suprise": 2, "Ärger": 2}, "names no emotion"),
        (["{root}", "--split", "test"], {"suprise": 2, "Ärger": 2}, "names no emotion"),
        (["{root}", "--label-space", "fer7"], {"suprise": 3, "Ärger": 2}, "is no class of fer7"),
        (["fer2013", "--root", "{root}"], {"suprise": 3, "Ärger": 2}, "is no class of fer7"),
    ],
)
def test_pictures_of_a_misspelt_emotion_are_said_and_counted(weights, tmp_path, arguments, counted, reason):
    root = tmp_path / "pictures"
    for place in ("test/suprise/PrivateTest_1", "test/suprise/PrivateTest_2", "train/suprise/Training_3"):
        draw(root / f"{place}.png", 1)
    for number in range(4):
        draw(root / "test" / ("Ärger" if number < 2 else "happy") / f"PrivateTest_{number}.png", number)
    (root / "test" / "suprise" / "notes.txt").write_text("no picture")
    call_of = [argument.format(root=root) for argument in arguments]
    result = call("evaluate", *call_of, "--weights", weights, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert {one["folder"]: one["n"] for one in found["unnamed_folders"]} == counted and found["n_pictures"] == 2
    for folder, n in counted.items():
        assert f"not counted: {n} picture(s), folder {folder!r} {reason}" in result.output


def test_a_folder_that_cannot_be_entered_is_said_and_fails(weights, folder, tmp_path, monkeypatch):
    real = os.scandir

    def shut(path):  # tests may run as root, whom no mode stops
        if Path(path).name == "sad":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", shut)
    result = call("evaluate", folder, "--weights", weights, "--out", tmp_path)
    assert result.exit_code == 1 and "unreadable: sad/: cannot be read (Permission denied)" in result.output
    assert [one["source"] for one in json.loads((tmp_path / "evaluation.json").read_text())["unreadable"]] == ["sad/"]


def test_unreadable_pictures_are_named_and_the_rest_is_not_lost(weights, folder, broken, tmp_path):
    result = call("evaluate", broken, "--weights", weights, "--out", tmp_path / "broken")
    assert result.exit_code == 1
    whole = call("evaluate", folder, "--weights", weights, "--out", tmp_path / "whole")
    bad, good = (json.loads((tmp_path / name / "evaluation.json").read_text()) for name in ("broken", "whole"))
    names = [f"sad/PrivateTest_{name}" for name in ("empty.jpg", "half.png", "head.png", "text.jpg")]
    assert [one["source"] for one in bad["unreadable"]] == names and all(name in result.output for name in names)
    assert "4 picture(s) or folder(s) could not be read" in result.output and whole.exit_code == 0
    assert bad["accuracy"] == good["accuracy"] and bad["pictures_sha256"] == good["pictures_sha256"]


@pytest.mark.parametrize(
    ("arguments", "n"),
    [
        (["--only", "PublicTest_*"], 5),
        (["--only", "PrivateTest_*"], 60),
        (["--label-space", "fer7"], 66),
    ],
)
def test_some_of_the_pictures(weights, folder, tmp_path, arguments, n):
    draw(folder / "angry" / "PublicTest_other.png", 200)
    result = call("evaluate", folder, "--weights", weights, "--out", tmp_path, *arguments)
    (folder / "angry" / "PublicTest_other.png").unlink()
    assert result.exit_code == 0, result.output
    extra = "PrivateTest_*" not in arguments
    assert json.loads((tmp_path / "evaluation.json").read_text())["n_pictures"] == n + extra


def test_a_corpus_by_name_with_its_split(weights, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "fer" / "test")
    result = call("evaluate", "fer2013", "--root", tmp_path / "fer", "--weights", weights, "--split", "test")
    assert result.exit_code == 0, result.output
    assert result.output.startswith("60 pictures, 60 different ones")  # PublicTest_* is FER's validation part
    listed = call("evaluate", tmp_path / "fer", "--weights", weights, "--split", "test")
    assert listed.output.startswith("61 pictures"), "the same, and happiness/large.png, whose folder fer7 has not"


def test_splits_are_told_by_folders_and_names_and_counted(weights, tmp_path):
    # --split test once took PublicTest too where the place was a folder
    names = ("PublicTest/sad/1", "privatetest/sad/2", "Training/sad/3", "test/sad/PublicTest_4", "test/sad/5", "sad/6")
    for number, name in enumerate((*names, "PrivateTest/sad/PublicTest_7", "val/sad/PrivateTest_8")):
        draw(tmp_path / "in" / f"{name}.png", number)
    result = call("evaluate", tmp_path / "in", "--weights", weights, "--out", tmp_path / "out")
    assert result.exit_code == 0 and "pictures a split: 1 train, 2 validation, 2 test, 1 none" in result.output
    assert "its name says validation, its folder PrivateTest" in result.output
    assert "its name says test, its folder val" in result.output
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert found["splits"] == {"train": 1, "validation": 2, "test": 2, "none": 1} and found["n_pictures"] == 6
    splits = pd.read_csv(tmp_path / "out" / "pictures.csv").set_index("source")["split"].fillna("").to_dict()
    assert [splits[f"{name}.png"] for name in names] == ["validation", "test", "train", "validation", "test", ""]


def test_a_corpus_whose_name_is_a_folder_here_is_not_guessed(weights, folder, tmp_path, monkeypatch):
    shutil.copytree(folder, tmp_path / "fer2013" / "test")
    monkeypatch.chdir(tmp_path)
    result = call("evaluate", "fer2013", "--weights", weights)
    assert result.exit_code == 2 and "./fer2013 is the folder, fer2013 --root FOLDER is the corpus" in result.output
    assert call("evaluate", "./fer2013", "--weights", weights).output.startswith("66 pictures")
    assert call("evaluate", "fer2013", "--root", "fer2013", "--weights", weights).output.startswith("65 pictures")


# ---- what cannot be looked at


def test_linked_classes_and_pictures_fail_and_the_rest_is_counted_by_reason(weights, folder, tmp_path):
    # a whole class once vanished as "3 other file(s) left alone" with exit code 0
    root = tmp_path / "in"
    shutil.copytree(folder, root)
    shutil.rmtree(root / "sad")
    (root / "sad").symlink_to(folder / "sad")
    (root / "links").symlink_to(folder / "fear")  # names no emotion: no sample is lost
    (root / "happy" / "linked.png").symlink_to(folder / "happy" / "PrivateTest_3.png")
    (root / "happy" / "nowhere.png").symlink_to(root / "happy" / "absent.png")
    (root / "happy" / "linked.txt").symlink_to(folder / "sad" / "notes.txt")
    for number in range(5):
        (root / "fear" / f"{number}.txt").touch()
    result = call("evaluate", root, "--weights", weights, "--out", tmp_path / "out")
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert result.exit_code == 1
    assert {one["source"]: one["reason"] for one in found["unreadable"]} == {
        "sad/": "linked folder, not entered",
        "happy/linked.png": "link that leaves the corpus's folder",
        "happy/nowhere.png": "no regular file",
    }
    assert all(f"unreadable: {name}: " in result.output for name in ("sad/", "happy/linked.png"))
    excluded = {one["reason"]: one for one in found["excluded"]}
    assert excluded["no image file (.txt)"]["n"] == 5 and len(excluded["no image file (.txt)"]["examples"]) == 3
    assert {"linked folder that names no emotion", "link that leaves the corpus's folder"} < excluded.keys()
    assert found["n_excluded"] == sum(one["n"] for one in found["excluded"]) == 8
    assert "5 other file(s) or folder(s) left alone, such as fear/0.txt: no image file (.txt)" in result.output


def test_a_link_is_no_failure_for_another_split_or_name(weights, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "in" / "test")
    (tmp_path / "in" / "train").symlink_to(folder)
    (tmp_path / "in" / "test" / "sad" / "linked.png").symlink_to(folder / "happy" / "PrivateTest_3.png")
    wanted = ("--split", "test", "--only", "PrivateTest_*")
    assert call("evaluate", tmp_path / "in", "--weights", weights, *wanted).exit_code == 0
    assert call("evaluate", tmp_path / "in", "--weights", weights, *wanted[2:]).exit_code == 1


@pytest.mark.parametrize("suffix", [".pgm", ".ppm", ".pnm", ".gif", ".jp2", ".jfif", ".PNG"])
def test_pictures_of_all_formats_that_predict_reads(weights, tmp_path, suffix):
    draw(tmp_path / "sad" / f"one{suffix}", 1)
    result = call("evaluate", tmp_path, "--weights", weights)
    assert result.exit_code == 0 and result.output.startswith("1 pictures"), result.output


def test_suffixes_of_pictures_are_those_of_predict(weights, tmp_path):
    assert labelled_pictures.SUFFIXES == inputs.PICTURES
    draw(tmp_path / "happy" / "one.png", 1)
    (tmp_path / "sad").mkdir()
    (tmp_path / "sad" / "phone.HEIC").write_bytes(b"no decoder for this")
    result = call("evaluate", tmp_path, "--weights", weights)
    assert result.exit_code == 1 and "unreadable: sad/phone.HEIC: " in result.output


def test_names_are_escaped_in_the_terminal(weights, folder, tmp_path):
    root = tmp_path / "in"
    shutil.copytree(folder, root)
    (root / "sad" / "\x1b[31mred.png").write_text("no picture")
    (root / "sad" / "a.\x1b[2J").touch()
    result = call("evaluate", root, "--weights", weights)
    assert result.exit_code == 1 and "\x1b" not in result.output
    assert "unreadable: sad/\\x1b[31mred.png: no picture" in result.output and "(.\\x1b[2J)" in result.output


def test_where_nothing_can_be_used_the_reasons_are_counted(weights, folder, tmp_path):
    shutil.copytree(folder / "sad", tmp_path / "in" / "melancholy")
    result = call("evaluate", tmp_path / "in", "--weights", weights)
    assert result.exit_code == 2
    assert "no picture (split any, names *); 8 x folder 'melancholy' names no emotion; 1 x no image" in result.output
    result = call("evaluate", folder, "--weights", weights, "--split", "train")
    of_test, of_validation = (f"{n} x a picture of another name or split" for n in (61, 5))
    assert f"{of_test} (test); {of_validation} (validation)" in result.output
    (tmp_path / "in" / "melancholy").rename(tmp_path / "in" / "contempt")
    (tmp_path / "in" / "sad").mkdir()
    (tmp_path / "in" / "sad" / "one.png").write_text("no picture")
    result = call("evaluate", tmp_path / "in", "--weights", weights)
    assert result.exit_code == 2 and "no picture can be used; 8 x class 'contempt' has no counterpart" in result.output
    assert "1 x no picture, or broken; 1 x no image file (.txt)" in result.output


# ---- where results go


@pytest.mark.parametrize("content", ["", "[]", '{"schema_version": 1}', "no JSON"])
@pytest.mark.parametrize("name", ["evaluation.json", "pictures.csv"])
def test_files_of_others_are_not_overwritten(weights, tmp_path, name, content):
    (tmp_path / name).write_text(content)
    result = call("evaluate", tmp_path / "absent", "--weights", weights, "--out", tmp_path)
    assert result.exit_code == 2 and f"{name} there, and of no earlier evaluation" in result.output
    assert (tmp_path / name).read_text() == content and len(list(tmp_path.iterdir())) == 1


def test_earlier_results_are_replaced_each_file_whole_or_not_at_all(weights, folder, tmp_path, monkeypatch):
    arguments = ("evaluate", folder, "--weights", weights, "--out", tmp_path, "--only", "PrivateTest_1*")
    assert call(*arguments).exit_code == 0
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert set(before) == set(still_evaluation.FILES)
    real = pd.DataFrame.to_csv

    def full(table, path, **options):
        real(table.head(1), path, **options)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    assert call(*arguments).exit_code == 2
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    monkeypatch.undo()
    assert call(*arguments).exit_code == 0


def test_a_file_in_the_place_of_the_folder_is_said_before_anything_is_read(weights, folder, tmp_path, monkeypatch):
    (tmp_path / "out").touch()
    monkeypatch.setattr(labelled_pictures, "gather", lambda *_, **__: pytest.fail("pictures were read"))
    result = call("evaluate", folder, "--weights", weights, "--out", tmp_path / "out")
    assert result.exit_code == 2 and "a file of this name is there, a folder is needed" in result.output


def test_what_is_unreadable_is_said_also_where_writing_fails(weights, broken, tmp_path, monkeypatch):
    monkeypatch.setattr(still_evaluation, "save", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    result = call("evaluate", broken, "--weights", weights, "--out", tmp_path)
    assert result.exit_code == 2 and "unreadable: sad/PrivateTest_empty.jpg" in result.output


@pytest.mark.parametrize("n_copies", [1, 3])
def test_one_picture_has_numbers_and_no_interval(weights, tmp_path, n_copies):
    for copy in range(n_copies):
        draw(tmp_path / "in" / "sad" / f"{copy}.png", 0)
    result = call("evaluate", tmp_path / "in", "--weights", weights, "--out", tmp_path / "out")
    assert result.exit_code == 0 and f"{n_copies} pictures, 1 different ones; one gives no interval" in result.output
    assert result.output.count("% no interval") == 3 and "% (no interval)" in result.output
    assert "nan" not in result.output
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    for metric in ("accuracy", "uar", "macro_f1"):
        assert found[metric]["value"] in (0, 1) and found[metric]["low"] is found[metric]["high"] is None
    assert found["calibration"]["ece"] > 0 and found["calibration"]["ece_limit"] is None


# ---- FER-2013 as one CSV


PIXELS = np.random.default_rng(0).integers(0, 256, (12, 48, 48), dtype=np.uint8)
USAGES = ("Training", "PublicTest", "PrivateTest")


def table_of(path: Path, rows, header="emotion,pixels,Usage") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def line_of(number: int, usage: str) -> str:
    return f"{number % 7},{' '.join(map(str, PIXELS[number].ravel()))},{usage}"


def test_the_csv_is_the_folder_of_its_pictures(weights, tmp_path):
    file = table_of(tmp_path / "fer2013.csv", [line_of(k, USAGES[k % 3]) for k in range(12)])
    for number, pixels in enumerate(PIXELS):
        picture = tmp_path / "in" / FER[number % 7] / f"{USAGES[number % 3]}_{number:02}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(picture)
    found = []
    for name, place in (("table", file), ("folder", tmp_path / "in")):
        assert call("evaluate", place, "--weights", weights, "--out", tmp_path / name).exit_code == 0
        found.append(json.loads((tmp_path / name / "evaluation.json").read_text()))
    assert (
        found[0]["pictures_sha256"] == found[1]["pictures_sha256"]
        and found[0]["uar"]["value"] == found[1]["uar"]["value"]
    )
    assert (
        found[0]["splits"] == {"train": 4, "validation": 4, "test": 4}
        and found[0]["confusion"] == found[1]["confusion"]
    )


@pytest.mark.parametrize("arguments", [["--only", "PrivateTest_*"], ["--split", "test"]])
def test_a_part_of_the_csv(weights, tmp_path, arguments):
    # as icml_face_data.csv: another order, blanks in the header
    rows = [",".join(np.array(line_of(k, USAGES[k % 3]).split(","))[[0, 2, 1]]) for k in range(12)]
    rows[0] = "7,Training,broken but of another split"
    file = table_of(tmp_path / "icml_face_data.csv", rows, header="emotion, Usage, pixels")
    result = call("evaluate", file, "--weights", weights, "--out", tmp_path / "out", *arguments)
    assert result.exit_code == 0, result.output
    sources = pd.read_csv(tmp_path / "out" / "pictures.csv")["source"].tolist()
    assert sources == [f"PrivateTest_{line}" for line in (4, 7, 10, 13)]


def test_broken_lines_of_the_csv_are_listed_and_the_rest_is_read(weights, tmp_path):
    good = line_of(1, "PrivateTest")
    pixels = good.split(",")[1]
    broken = {
        f"7,{pixels},Training": "column emotion: '7' found, allowed are 0, 1, 2, 3, 4, 5, 6",
        f"1,{pixels},Testing": "column Usage: 'Testing' found, allowed are Training, PublicTest, PrivateTest",
        f"1,256 {pixels},Training": "column pixels: '256' found, whole numbers 0 to 255 are allowed",
        f"1,{pixels} 7,Training": "column pixels: 2305 numbers found, 2304 are allowed",
        f"1,{pixels}": "2 cells, the first line has 3",
        f'1,"{pixels},Training': "no CSV: unexpected end of data",
    }
    file = table_of(tmp_path / "fer2013.csv", [good, "", *broken, good])
    result = call("evaluate", file, "--weights", weights)
    assert result.exit_code == 1 and result.output.startswith("2 pictures, 1 different ones")
    for line, reason in enumerate(broken.values(), start=4):
        assert f"unreadable: fer2013.csv, line {line}: cannot be read ({reason})" in result.output


@pytest.mark.parametrize(
    ("name", "header", "message"),
    [
        ("fer.csv", "emotion,pixels", "fer.csv, line 1: column(s) ['Usage'] missing or there twice, ['emotion',"),
        ("fer.csv", "emotion,pixels,pixels,Usage", "column(s) ['pixels'] missing or there twice"),
        ("fer.csv", "", "column(s) ['emotion', 'pixels', 'Usage'] missing or there twice, [] found"),
        ("fer.csv", "emotion,pixels,Usage", "no picture (split any, names *); nothing like it is there"),
        ("fer.txt", "emotion,pixels,Usage", "is a file; a folder, a .csv of FER-2013 and a corpus are allowed"),
    ],
)
def test_another_file_than_fers_is_refused(weights, tmp_path, name, header, message):
    result = call("evaluate", table_of(tmp_path / name, [], header=header), "--weights", weights)
    assert result.exit_code == 2 and message in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{tmp}/nothing"], "neither a folder nor a corpus; there are "),
        (["{tmp}"], "no picture (split any, names *)"),
        (["{folder}", "--only", "absent*"], "names absent*"),
        (["{folder}", "--split", "train"], "split train"),
        (["{folder}", "--split", "PrivateTest"], "split 'PrivateTest': train, validation and test are allowed"),
        (["{folder}", "--views", "3"], "views: 3 received"),
        (["{folder}", "--root", "x"], "is no corpus"),
        (["{folder}", "--label-space", "fer8"], "fer8"),
        (["fer2013", "--root", "{folder}", "--label-space", "fer7"], "has a label space: 'fer7' says nothing"),
        (["fer2013", "--root", "{folder}", "--option", "hash"], "NAME=VALUE"),
        (["fer2013", "--root", "{folder}", "--option", "hash=1"], "its options are"),
        (["fer2013", "--root", "{folder}", "--option", "hash_pixels=["], "--option 'hash_pixels=[': VALUE is no YAML"),
        (["fer2013", "--root", "{folder}", "--option", "a=2020-13-45"], "--option 'a=2020-13-45': VALUE is no YAML"),
        (["ravdess", "--root", "{folder}"], "no sample"),
        (["{folder}", "--weights", "absent"], "emolib ship"),
        (["{folder}/sad", "--weights", "{weights}"], "no picture"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(weights, folder, tmp_path, arguments, message):
    places = {"folder": folder, "weights": weights, "tmp": tmp_path}
    arguments = [argument.format(**places) for argument in arguments]
    given = [] if "--weights" in arguments else ["--weights", weights]
    result = call("evaluate", *arguments, *given)
    assert result.exit_code == 2 and message in result.output and "Traceback" not in result.output


def test_an_ensemble_is_evaluated_like_one(weights, folder, tmp_path):
    other = made_classifiers.save(tmp_path / "other.safetensors", "baseline", seed=4)
    result = call("evaluate", folder, "--weights", f"{weights},{other}", "--out", tmp_path / "out")
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert result.exit_code == 0 and [one["model"] for one in found["weights"]] == ["vgg", "baseline"]


# ---- classes by name


@pytest.mark.parametrize(
    ("names", "classes", "label_space", "expected"),
    [
        (["anger", "Happy", "fearful", "contempt"], FER, None, [0, 3, 2, -1]),
        (["disgust", "happy", "fear", "anger", "surprise", "sad"], FER, "pedfe6", [1, 3, 2, 0, 5, 4]),
        (["neutral", "calm", "surprised"], FER, "ravdess8", [6, 6, 5]),  # calm is neutral by the named mapping
        (["neutral", "calm"], FER, None, [6, -1]),
        (["angry", "happy", "surprise"], ("neutral", "positive", "negative"), "fer7", [2, 1, -1]),
        (["happy", "sad"], ("sad", "happy"), "fer7", [1, 0]),  # classes of no space of ours: by emotion
    ],
)
def test_classes_are_matched_by_name(names, classes, label_space, expected):
    assert list(labelled_pictures.counterparts(names, classes, label_space=label_space).values()) == expected


# ---- intervals


def test_copies_of_pictures_narrow_no_interval():
    rng = np.random.default_rng(0)
    label, posterior = np.arange(80) % 2, rng.dirichlet([1, 1], 80)
    group = np.arange(80).astype(str)
    once = still_evaluation.judge(posterior, label, group, classes=["a", "b"])
    ten = [np.repeat(values, 10, axis=0) for values in (posterior, label, group)]
    copied = still_evaluation.judge(*ten, classes=["a", "b"])
    for name in still_evaluation.METRICS:
        assert copied.metrics[name].value == pytest.approx(once.metrics[name].value)
        assert copied.metrics[name].low == pytest.approx(once.metrics[name].low, abs=1e-9)
    pd.testing.assert_frame_equal(copied.per_class.drop(columns="n"), once.per_class.drop(columns="n"))


def test_a_class_without_pictures_has_no_recall():
    found = still_evaluation.judge(np.eye(3)[[0, 1, 1]], np.array([0, 1, 1]), np.arange(3), classes=["a", "b", "c"])
    assert found.per_class["recall"].isna().tolist() == [False, False, True]
    assert found.per_class["recall_low"].isna().tolist() == [True, False, True]  # one picture gives no interval
    assert found.metrics["uar"].value == 1


# ---- the model card


@pytest.fixture
def card_sources(weights, folder, tmp_path):
    facts = dict.fromkeys(("run", "finished_utc", "stored"), "tiny/classifier/main") | {
        "trained_on": "Drawn noise",
        "code": {"git_commit": None, "emolib_version": "0", "git_dirty": None},
        "params": {
            "epochs": 77,
            "recipe": {"epochs": 9, "batch_size": 32},
            "augmentation": {},
            "options": {},
            "start_from": "",
        },
        "temperature_fit": dict.fromkeys(("before", "after"), {"n": 5, "ece": 0.1}),
    }
    file = made_classifiers.save(tmp_path / "seven.safetensors", facts=facts)
    assert call("evaluate", folder, "--weights", file, "--out", tmp_path).exit_code == 0
    cross = {"stage": "cross_corpus", "study": "s", "variant": "v"}
    row = {"rule": "middle", "clips": "female", "n": 3, "n_subjects": 2, "chance": 0.25}
    row |= {name: 0.5 for name in ("accuracy", "accuracy_low", "accuracy_high", "uar", "uar_low", "uar_high")}
    sha256 = json.loads((tmp_path / "evaluation.json").read_text())["weights"][0]["sha256"]
    cross["metrics"] = {"corpus": "clips", "rule": "middle", "weights_sha256": [sha256]}
    cross["metrics"]["scores"] = [row | {"answer": answer} for answer in ("matched", "free")]
    (tmp_path / "run.json").write_text(json.dumps(cross))
    return file, [tmp_path / "evaluation.json", tmp_path / "run.json"]


def test_the_cards_numbers_are_those_of_its_sources(card_sources):
    file, sources = card_sources
    text = model_card.card(str(file), sources)
    found = json.loads(sources[0].read_text())
    for share in (found["accuracy"]["value"], found["uar"]["low"], found["per_class"][3]["recall"]):
        assert f"{100 * share:.1f}" in text
    assert "Drawn noise" in text and "| `epochs` | `77` |" in text and "{{" not in text
    [recipe], [augmentation] = (
        [json.loads(line.split("`")[3]) for line in text.splitlines() if line.startswith(f"| `{name}` |")]
        for name in ("recipe", "augmentation")
    )
    defaults = dataclasses.asdict(ClassifierRecipe(epochs=9, batch_size=32))
    assert "augmentation" not in recipe and recipe["batch_size"] == 32
    assert recipe["learning_rate"] == defaults["learning_rate"] and len(recipe) == len(defaults) - 1
    assert augmentation == dataclasses.asdict(Augmentation()), "an empty dictionary is the default one, not none"
    assert "| `options` | `{}` |" in text and '| `start_from` | `""` |' in text
    assert text.count("| female | 3 | 2 | 50.0 % [50.0, 50.0] |") == 1


def test_a_card_is_not_made_without_numbers_of_these_weights(card_sources, weights, tmp_path):
    file, sources = card_sources
    again = shutil.copy(sources[1], tmp_path / "again.json")
    for name, given, message in (
        (weights, sources, "its facts lack run"),
        (file, sources[1:], "0 evaluations and 1 runs"),
        (file, [*sources, again], "1 evaluations and 2 runs"),
    ):
        with pytest.raises(ValueError, match=message):
            model_card.card(str(name), given)
    other = json.loads(sources[0].read_text())
    other["weights"][0]["sha256"] = "0"
    sources[0].write_text(json.dumps(other))
    with pytest.raises(ValueError, match="measured with other weights"):
        model_card.card(str(file), sources[:1])


# ---- real pictures


def test_the_pictures_of_fer2013_are_all_read(weights, tmp_path):
    if not FER_ZIP.is_file():
        pytest.skip("../shared/data/fer2013.zip is not here")
    with zipfile.ZipFile(FER_ZIP) as archive:
        members = [name for name in archive.namelist() if "test/disgust/" in name or "test/surprise/" in name]
        archive.extractall(tmp_path, [name for name in members if not name.endswith("/")])
    [test] = tmp_path.rglob("test")
    result = call("evaluate", test, "--weights", weights, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    counts = {row["class"]: row["n"] for row in json.loads((tmp_path / "out/evaluation.json").read_text())["per_class"]}
    assert (counts["disgust"], counts["surprise"]) == (56, 415)
