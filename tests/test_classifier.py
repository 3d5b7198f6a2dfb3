"""Training of a classifier: recipe, targets, balance, teachers, the loop, resume after a kill, views, parts."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import softmax
from torch import nn

from emolib import labels, models, posteriors, runs, still_outputs, stills_training
from emolib.classifier import Augmentation, ClassifierRecipe, distil, fit, parts, steps, targets, views
from emolib.classifier.steps import Data, Task, epoch_order, train_epoch
from emolib.training import Member

N, CLASSES = 96, ("angry", "happy", "sad")
SMALL = {"model": "vgg", "n_classes": 3, "model_options": {"widths": [8, 16], "blocks": [1, 1]}}
QUICK = {**SMALL, "device": "cpu", "progress": False}
MILD = Augmentation(rotation_deg=5.0, crop_area=0.9, wide_area=1.1, erase=0.2)
PLAIN = ClassifierRecipe(epochs=3, batch_size=16, learning_rate=0.05)
FULL = ClassifierRecipe(
    epochs=4,
    batch_size=16,
    clip_norm=1.0,
    label_smoothing=0.1,
    mixup_alpha=0.4,
    cutmix_alpha=1.0,
    mix_share=0.7,
    ema_decay=0.9,
    balance="sampler",
    balance_power=0.5,
    distil_on="clean",
    size_schedule=[[0.0, 32], [0.5, 48]],
    augmentation=MILD,
)


@pytest.fixture(autouse=True)
def one_thread():
    """A thread is enough for pictures this few, and two wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    """Image and label: stripes across (0), upright (1, rare) or none (2), under noise."""
    rng = np.random.default_rng(0)
    label = np.array([0, 1, 2, 0, 2, 0, 2, 0] * (N // 8))
    image = rng.integers(0, 120, (N, 48, 48), dtype=np.uint8)
    stripe = np.arange(48) % 8 < 4
    image[label == 0] += (100 * stripe[:, None]).astype(np.uint8)
    image[label == 1] += (100 * stripe[None, :]).astype(np.uint8)
    image[label == 2] += 50
    return image, label


@pytest.fixture(scope="module")
def member() -> Member:
    order = np.random.default_rng(1).permutation(N)
    return Member("one", order[:64], order[64:], seed=5)


@pytest.fixture(scope="module")
def teachers(tmp_path_factory) -> list[nn.Module]:
    folder = tmp_path_factory.mktemp("teachers")
    files = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = models.build("vgg", 3, **SMALL["model_options"])
        files.append(folder / f"{seed}.safetensors")
        options = SMALL["model_options"]
        models.save_weights(files[-1], network.state_dict(), model="vgg", classes=CLASSES, options=options)
    return distil.load_teachers(files, classes=CLASSES)


# ---- recipe


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs = 0 received, a number from 1"),
        ({"epochs": 2.5}, "epochs = 2.5 received, a whole number"),
        ({"batch_size": True}, "batch_size = True"),
        ({"learning_rate": "1e-3"}, "learning_rate = '1e-3'"),
        ({"learning_rate": 0.0}, "learning_rate above 0"),
        ({"warmup_share": 1.0}, "below 1 are allowed"),
        ({"ema_decay": 1.0}, "below 1 are allowed"),
        ({"mixup_alpha": math.inf}, "mixup_alpha = inf"),
        ({"label_smoothing": -0.1}, "label_smoothing"),
        ({"optimiser": "ranger"}, "optimiser = 'ranger' received, allowed: sgd, adam, adamw"),
        ({"balance": "both"}, "balance = 'both' received, allowed: none, sampler, loss"),
        ({"soft_targets": True}, "soft_targets = True"),
        ({"mixed_precision": "fp16"}, "allowed: none, bf16"),
        ({"distil_temperature": 0.5}, "distil_temperature"),
        ({"clip_norm": 0.0}, "clip_norm = 0.0"),
        ({"augmentation": {"flip": 0.5}}, "an Augmentation is allowed"),
        ({"size_schedule": []}, "size_schedule"),
        ({"size_schedule": [[0.1, 48]]}, "rising from 0"),
        ({"size_schedule": [[0.0, 32], [0.0, 48]]}, "rising from 0"),
        ({"size_schedule": [[0.0, 8]]}, "16 or more"),
        ({"size_schedule": [[0.0, 32.5], [0.5, 48]]}, "sizes whole"),
        ({"size_schedule": [[0.0, 32]]}, "the last 48"),
    ],
)
def test_recipe_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PLAIN, **changes)


def test_the_rate_rises_to_its_peak_and_falls_to_zero():
    recipe = ClassifierRecipe(epochs=10, learning_rate=0.4, warmup_share=0.2)
    rates = [recipe.rate(step, steps_per_epoch=5) for step in range(50)]
    assert np.argmax(rates) in (9, 10) and max(rates) == pytest.approx(0.4)
    np.testing.assert_allclose(np.diff(rates[:10]), 0.04)
    assert (np.diff(rates[10:]) < 0).all() and rates[-1] < 0.001
    assert rates[30] == pytest.approx(0.2)  # half way along the cosine
    constant = ClassifierRecipe(epochs=10, learning_rate=0.4, schedule="constant", warmup_share=0.0)
    assert {constant.rate(step, steps_per_epoch=5) for step in range(50)} == {0.4}


def test_sizes_follow_the_schedule():
    recipe = ClassifierRecipe(epochs=10, size_schedule=[[0.0, 32], [0.5, 40], [0.85, 48]])
    assert {recipe.extent(epoch) for epoch in range(1, 11)} == {1.0}
    cropped = dataclasses.replace(recipe, size_by="crop")
    assert [cropped.extent(epoch) for epoch in (1, 6, 10)] == [32 / 48, 40 / 48, 1.0]
    assert [recipe.size_px(epoch) for epoch in range(1, 11)] == [32] * 5 + [40] * 4 + [48]


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_biases_and_norms_do_not_decay(name):
    model = models.build("vgg", 3)
    optimiser = ClassifierRecipe(epochs=1, optimiser=name, weight_decay=0.1).make_optimiser(model)
    decayed = {id(p) for group in optimiser.param_groups if group["weight_decay"] for p in group["params"]}
    assert decayed == {id(p) for name, p in model.named_parameters() if p.ndim > 1}
    assert sum(len(group["params"]) for group in optimiser.param_groups) == len(list(model.parameters()))


# ---- targets and balance


def votes(*rows: dict) -> pd.DataFrame:
    answers = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
    return pd.DataFrame([{f"votes_{answer}": row.get(answer, 0) for answer in answers} for row in rows]).astype(float)


def test_votes_become_shares_of_the_seven_classes():
    table = votes(
        {"neutral": 6, "sadness": 4},
        {"anger": 3, "disgust": 1, "contempt": 4, "unknown": 2},  # four votes of the seven classes
        {"contempt": 5, "unknown": 3, "NF": 2},
        {},
    )
    table.loc[4] = np.nan
    shares = targets.vote_shares(table, label_space="fer7")
    # fer7: angry disgust fear happy sad surprise neutral
    np.testing.assert_allclose(shares[0], [0, 0, 0, 0, 0.4, 0, 0.6], atol=1e-7)
    np.testing.assert_allclose(shares[1], [0.75, 0.25, 0, 0, 0, 0, 0], atol=1e-7)
    assert np.isnan(shares[2:]).all() and shares.dtype == np.float32


def test_votes_of_emotions_count_for_their_valence():
    table = votes({"happiness": 9, "neutral": 1}, {"anger": 2, "contempt": 1, "surprise": 7}, {"surprise": 10})
    shares = targets.vote_shares(table, label_space="valence3")
    positive, neutral, negative = (labels.names("valence3").index(name) for name in ("positive", "neutral", "negative"))
    assert shares[0, [positive, neutral, negative]].tolist() == pytest.approx([0.9, 0.1, 0.0])
    assert shares[1, [positive, neutral, negative]].tolist() == [0.0, 0.0, 1.0] and np.isnan(shares[2]).all()


def test_soft_targets_by_hand():
    target = targets.one_hot([0, 1, -1], 3)
    np.testing.assert_array_equal(target, [[1, 0, 0], [0, 1, 0], [0, 0, 0]])
    shares = np.array([[0.2, 0.8, 0.0], [np.nan] * 3, [0.5, 0.5, 0.0]], dtype=np.float32)
    soft = targets.soften(target, shares, votes_share=0.25)
    np.testing.assert_allclose(soft[:2], [[0.8, 0.2, 0], [0, 1, 0]], rtol=1e-6)
    smoothed = targets.smooth(torch.from_numpy(soft[:2]), 0.3)
    np.testing.assert_allclose(smoothed, [[0.66, 0.24, 0.1], [0.1, 0.8, 0.1]], rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: targets.one_hot([0, 3], 3), "label 3 in row 1: -1 to 2"),
        (lambda: targets.vote_shares(votes({"anger": -1}), label_space="fer7"), "row 0, votes_anger: -1.0 votes"),
        (lambda: targets.vote_shares(pd.DataFrame({"label": [0]}), label_space="fer7"), "lacks column.* votes_neutral"),
    ],
)
def test_targets_refuse(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_class_weights_by_hand():
    label = np.array([0] * 6 + [2] * 2)
    np.testing.assert_allclose(targets.class_weights(label, 3, power=1.0), [2 / 3, 0, 2])
    root = np.array([6**-0.5, 0, 2**-0.5])
    np.testing.assert_allclose(targets.class_weights(label, 3, power=0.5), root * 8 / (6 * root[0] + 2 * root[2]))
    np.testing.assert_allclose(targets.class_weights(label, 3, power=0.0), [1, 0, 1])


@pytest.mark.parametrize(("power", "expected"), [(1.0, 0.5), (0.5, 3 / 4), (0.0, 0.9)])
def test_the_sampler_balances_as_far_as_said(power, expected):
    label = torch.tensor([0] * 4500 + [1] * 500)
    generator = torch.Generator().manual_seed(0)
    order = targets.balanced_order(label, 2, power=power, generator=generator)
    assert len(order) == len(label)
    assert (label[order] == 0).float().mean().item() == pytest.approx(expected, abs=0.02)


def test_an_epoch_has_each_row_once_unless_it_is_balanced(data, member):
    label = torch.from_numpy(data[1])
    order = [epoch_order(member, label, PLAIN, epoch) for epoch in (1, 2)]
    assert sorted(order[0].tolist()) == sorted(order[1].tolist()) == sorted(member.train.tolist())
    assert order[0].tolist() != order[1].tolist()
    balanced = epoch_order(member, label, dataclasses.replace(PLAIN, balance="sampler"), 1)
    assert len(balanced) == len(member.train) and set(balanced.tolist()) <= set(member.train.tolist())
    share = [(label[order] == 1).float().mean() for order in (balanced, order[0])]
    assert share[0] > 1.5 * share[1]


# ---- teachers


def test_distillation_is_the_divergence_at_its_temperature():
    rng = np.random.default_rng(0)
    logits, of_teacher, temperature = rng.normal(size=(5, 3)), rng.normal(size=(5, 3)), 3.0
    teacher = softmax(of_teacher / temperature, axis=1)
    student = softmax(logits / temperature, axis=1)
    expected = temperature**2 * (teacher * np.log(teacher / student)).sum(axis=1).mean()
    found = distil.loss(torch.from_numpy(logits), torch.from_numpy(teacher), temperature=temperature)
    assert found.item() == pytest.approx(expected)
    same = distil.loss(torch.from_numpy(of_teacher), torch.from_numpy(teacher), temperature=temperature)
    assert same.item() == pytest.approx(0, abs=1e-9)


def test_teachers_answer_with_their_mean(data, teachers):
    pictures = torch.from_numpy(data[0][:4])
    images = pictures[:, None].float() / 127.5 - 1
    each = [softmax(teacher(images).numpy() / 2.0, axis=1) for teacher in teachers]
    answer = distil.answer(teachers, images, temperature=2.0)
    np.testing.assert_allclose(answer, np.mean(each, axis=0), atol=1e-5)
    mirrored = distil.answer(teachers, images.flip(-1), temperature=2.0)
    clean = distil.clean_answers(teachers, pictures, temperature=2.0)
    torch.testing.assert_close(clean, (answer + mirrored) / 2, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "classes", "message"),
    [("vgg", ["a", "b", "c"], "a teacher of a, b, c; angry, happy, sad"), ("guided", CLASSES, "needs a guide")],
)
def test_teachers_refuse(tmp_path, model, classes, message):
    models.save_weights(tmp_path / "w.safetensors", models.build(model, 3).state_dict(), model=model, classes=classes)
    with pytest.raises(ValueError, match=message):
        distil.load_teachers([tmp_path / "w.safetensors"], classes=CLASSES)


@pytest.mark.parametrize("distil_on", ["clean", "augmented"])
def test_a_student_of_teachers_alone_comes_near_them(data, member, teachers, distil_on):
    recipe = dataclasses.replace(PLAIN, epochs=12, distil_weight=1.0, distil_on=distil_on, distil_temperature=1.0)
    states = [fit(*data, member, recipe=recipe, teachers=crew, **QUICK).state for crew in (teachers, ())]
    rows = member.validation
    answers = [posteriors.predict(data[0], None, rows, state=state, device="cpu", **SMALL) for state in states]
    wanted = distil.clean_answers(teachers, torch.from_numpy(data[0][rows]), temperature=1.0).numpy()
    far = [np.abs(answer - wanted).mean() for answer in answers]
    assert far[0] < 0.5 * far[1]


# ---- the loop


@pytest.mark.parametrize("recipe", [PLAIN, dataclasses.replace(FULL, epochs=10)], ids=["plain", "full"])
def test_it_learns_and_answers_held_out_pictures(data, member, recipe):
    heard = []
    trained = fit(*data, member, recipe=dataclasses.replace(recipe, epochs=10), on_epoch=heard.append, **QUICK)
    accuracy = trained.history["validation_accuracy"]
    assert len(accuracy) == 10 and accuracy.max() > 0.85  # chance: 0.5, the largest class
    assert trained.best_epoch == accuracy.idxmax() + 1
    assert [row["epoch"] for row in heard] == list(range(1, 11))
    posterior = posteriors.predict(data[0], None, member.validation, state=trained.state, device="cpu", **SMALL)
    assert (posterior.argmax(1) == data[1][member.validation]).mean() == pytest.approx(accuracy.max(), abs=1e-6)


class Killed(Exception):
    """Stands for whatever ends a process."""


def die_after(epoch: int):
    def hear(row: dict) -> None:
        if row["epoch"] == epoch:
            raise Killed

    return hear


@pytest.mark.parametrize("changes", [{}, {"mixed_precision": "bf16", "distil_on": "augmented", "keep": "last"}])
def test_a_resumed_training_ends_with_the_same_bits(tmp_path, data, member, teachers, changes):
    recipe = dataclasses.replace(FULL, **changes)
    target = targets.soften(targets.one_hot(data[1], 3), np.full((N, 3), 1 / 3, np.float32), votes_share=0.2)
    options = {**QUICK, "recipe": recipe, "teachers": teachers, "target": target}
    whole = fit(*data, member, **options)
    for epoch in (1, 3):
        with pytest.raises(Killed):
            fit(*data, member, checkpoint_dir=tmp_path, on_epoch=die_after(epoch), **options)
    resumed = fit(*data, member, checkpoint_dir=tmp_path, **options)
    assert resumed.best_epoch == whole.best_epoch
    assert all(torch.equal(resumed.state[name], tensor) for name, tensor in whole.state.items())
    pd.testing.assert_frame_equal(resumed.history.drop(columns="seconds"), whole.history.drop(columns="seconds"))
    again = fit(*data, member, checkpoint_dir=tmp_path, **options)  # finished: nothing is trained
    assert again.history["seconds"].tolist() == resumed.history["seconds"].tolist()


def test_a_checkpoint_of_another_training_is_refused(tmp_path, data, member):
    recipe = dataclasses.replace(PLAIN, epochs=1)
    fit(*data, member, recipe=recipe, checkpoint_dir=tmp_path, **QUICK)
    target = targets.one_hot((data[1] + 1) % 3, 3)
    for changes, named in (
        ({"recipe": dataclasses.replace(recipe, augmentation=MILD)}, "recipe.augmentation"),
        ({"target": target}, "target is"),
        ({"model_options": {"widths": [8, 16], "blocks": [1, 2]}}, "options is"),
    ):
        with pytest.raises(ValueError, match=f"one.pt: written by a training of other settings: .*{named}"):
            fit(*data, member, checkpoint_dir=tmp_path, **{"recipe": recipe, **QUICK, **changes})


def test_the_average_is_the_hand_computed_one(data, member):
    """Every step keeps 0.8 of it; batch statistics are averaged like weights."""
    recipe = dataclasses.replace(PLAIN, epochs=1, ema_decay=0.8, keep="last")
    torch.manual_seed(0)
    net = models.build(SMALL["model"], 3, **SMALL["model_options"])
    multi_avg = torch.optim.swa_utils.get_ema_multi_avg_fn(0.8)
    average = torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=multi_avg, use_buffers=True)
    task = Task(net, average, recipe.make_optimiser(net), member, recipe)
    label = torch.from_numpy(data[1])
    arrays = Data(torch.from_numpy(data[0]), label, torch.from_numpy(targets.one_hot(data[1], 3)))
    steps = []
    train_epoch(
        task, arrays, epoch=1, on_step=lambda _: steps.append({k: v.clone() for k, v in net.state_dict().items()})
    )
    assert len(steps) == 4
    names = [name for name, tensor in steps[0].items() if tensor.is_floating_point()]
    assert "features.0.1.running_mean" in names
    for name in names:
        expected = steps[0][name].double()
        for state in steps[1:]:
            expected = 0.8 * expected + 0.2 * state[name].double()
        torch.testing.assert_close(average.module.state_dict()[name].double(), expected, rtol=1e-5, atol=1e-7)
    kept = fit(*data, member, recipe=recipe, **QUICK).history.iloc[-1]
    assert kept["weights"] in ("raw", "ema") and not math.isnan(kept["ema_accuracy"])


def test_last_keeps_the_last_and_best_the_best(data, member):
    recipe = dataclasses.replace(PLAIN, epochs=6, learning_rate=0.3, ema_decay=0.5)
    best = fit(*data, member, recipe=recipe, **QUICK)
    last = fit(*data, member, recipe=dataclasses.replace(recipe, keep="last"), **QUICK)
    columns = ["train_loss", "raw_accuracy", "ema_accuracy"]
    pd.testing.assert_frame_equal(best.history[columns], last.history[columns])
    assert last.best_epoch == 6
    posterior = posteriors.predict(data[0], None, member.validation, state=last.state, device="cpu", **SMALL)
    accuracy = (posterior.argmax(1) == data[1][member.validation]).mean()
    assert accuracy == pytest.approx(last.history["ema_accuracy"].iloc[-1])


def test_the_loss_weighs_rare_classes_more(data, member):
    logits, target = torch.tensor([[2.0, 0, 0], [0, 1, 0]]), torch.tensor([[1.0, 0, 0], [0, 0, 1]])
    weight = torch.tensor([0.5, 1.0, 2.0])
    task = Task(None, None, None, member, PLAIN, class_weight=weight)
    of_each = -(target * logits.log_softmax(1) * weight).sum(1)
    assert task.loss(logits, target, None).item() == pytest.approx(of_each.mean().item())
    plain, even = (
        dataclasses.replace(PLAIN, epochs=1, learning_rate=1e-9, balance=name, balance_power=0.0)
        for name in ("none", "loss")
    )
    losses = [fit(*data, member, recipe=recipe, **QUICK).history["train_loss"][0] for recipe in (plain, even)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_a_start_of_other_classes_lends_no_last_layer(tmp_path):
    file = tmp_path / "weights.safetensors"
    classes = labels.names("fer7")
    models.save_weights(file, models.build("plain_cnn", 7).state_dict(), model="plain_cnn", classes=classes)
    assert "classifier.weight" in stills_training.starting(file, model="plain_cnn", classes=classes)
    other = stills_training.starting(file, model="plain_cnn", classes=labels.names("affectnet7"))
    assert len(other) > 4 and not any(name.startswith("classifier.") for name in other)
    assert stills_training.starting(None, model="plain_cnn", classes=classes) is None
    with pytest.raises(ValueError, match=r"weights\.safetensors is of network 'plain_cnn', 'vgg' is allowed"):
        stills_training.starting(file, model="vgg", classes=classes)


def test_answers_of_teachers_are_mixed_as_the_targets_are():
    recipe = dataclasses.replace(PLAIN, cutmix_alpha=1.0, mix_share=1.0)
    images = torch.rand(8, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    target = torch.eye(8)[:, :5]
    answer = target.flip(1)
    _, mixed_target, mixed_answer = steps.mixed(images, target, answer, recipe, seed=1)
    assert not torch.equal(mixed_target, target) and torch.equal(mixed_answer, mixed_target.flip(1))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"model": "guided", "model_options": {}}, ValueError, "needs a guide"),
        ({"target": np.zeros((N, 3))}, ValueError, "target: float64"),
        ({"target": np.full((N, 3), 0.5, np.float32)}, ValueError, "target, row .* sum to 1"),
        (
            {"model": "plain_cnn", "model_options": {}, "recipe": dataclasses.replace(PLAIN, learning_rate=100.0)},
            FloatingPointError,
            "'one'.* loss is",
        ),
        ({"device": "tpu"}, ValueError, "device: 'tpu'"),
    ],
)
def test_fit_refuses(data, member, changes, error, message):
    with pytest.raises(error, match=message):
        fit(*data, member, **{"recipe": dataclasses.replace(PLAIN, epochs=8), **QUICK, **changes})


def test_the_global_generator_is_given_back(data, member):
    before = torch.get_rng_state()
    fit(*data, member, recipe=dataclasses.replace(PLAIN, epochs=1), **QUICK)
    assert torch.equal(torch.get_rng_state(), before)


# ---- views


@pytest.fixture(scope="module")
def state() -> dict:
    torch.manual_seed(3)
    return models.build("vgg", 3, **SMALL["model_options"]).state_dict()


def predict(image, state, **options):
    return views.predict(image, np.arange(len(image)), state=state, device="cpu", **SMALL, **options)


def test_one_view_is_the_plain_posterior(data, state):
    image = data[0][:5]
    plain = posteriors.predict(image, None, np.arange(5), state=state, device="cpu", **SMALL)
    np.testing.assert_allclose(predict(image, state, views="one"), plain, atol=1e-6)
    mirrored = posteriors.predict(image[:, :, ::-1].copy(), None, np.arange(5), state=state, device="cpu", **SMALL)
    np.testing.assert_allclose(predict(image, state, views="flip"), (plain + mirrored) / 2, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in views.VIEWS if name != "one"])
def test_averaged_views_do_not_tell_a_face_from_its_mirror_image(data, state, name):
    posterior = predict(data[0][:5], state, views=name, batch_size=2)
    np.testing.assert_allclose(posterior.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(predict(data[0][:5, :, ::-1].copy(), state, views=name), posterior, atol=1e-5)


def test_a_shifted_view_is_shifted_by_two_pixels():
    images = torch.rand(1, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    shown = views.show(images, (False, 2 / 48, -2 / 48, 1.0))
    torch.testing.assert_close(shown[..., 2:, :-2], images[..., :-2, 2:], rtol=0, atol=1e-5)


def test_views_refuse(data, state):
    with pytest.raises(ValueError, match="views: 'fifty' received, allowed are one, flip"):
        predict(data[0], state, views="fifty")
    with pytest.raises(ValueError, match="needs a guide"):
        views.predict(data[0], np.arange(2), model="guided", n_classes=3, state=models.build("guided", 3).state_dict())


# ---- parts


def manifest_of(splits: str) -> pd.DataFrame:
    names = {"t": "train", "v": "validation", "u": "test"}
    return pd.DataFrame(
        {"split": [names[letter] for letter in splits], "subject": [f"s{k}" for k in range(len(splits))]}
    )


def test_a_split_put_to_another_use():
    manifest = manifest_of("t" * 60 + "v" * 20 + "u" * 20)
    manifest["duplicate_group"] = np.arange(100)
    manifest.loc[[0, 60], "duplicate_group"] = 999  # a training picture that is also in the test
    manifest.loc[[1, 2], "duplicate_group"] = 998
    label, usable = np.tile([0, 1], 50), np.ones(100, dtype=bool)
    asked = {"validation_share": 0.25, "test_share": 0.5, "seed": 0}
    split = parts.divide(manifest, label, usable, splits_as={"validation": "test", "test": "unused"}, **asked)
    assert split.test.tolist() == list(range(60, 80))
    assert 0 not in {*split.train, *split.validation}
    assert set(split.part[[1, 2]]) in ({"train"}, {"validation"})
    assert sorted([*split.train, *split.validation]) == list(range(1, 60)) and 13 <= len(split.validation) <= 17
    small = parts.divide(manifest, label, usable, splits_as={}, max_training=10, **asked)
    assert small.validation.tolist() == list(range(60, 80)) and small.test.tolist() == list(range(80, 100))
    assert len(small.train) == 10 == (small.part == "train").sum() and label[small.train].sum() == 5


def test_copies_of_an_unused_part_are_neither_learned_from_nor_validate():
    n, group = 600, np.arange(600)
    group[500:520] = np.arange(20)  # of the unused part: copies of training stills
    group[520:525] = np.arange(400, 405)  # and of the test
    group[405:415] = np.arange(20, 30)
    splits, label = manifest_of("t" * 400 + "v" * 100 + "u" * 100), np.arange(n) % 3
    for column in ("duplicate_group", "subject"):
        manifest = splits.assign(**{column: [f"g{k}" for k in group]})
        asked = {"splits_as": {"validation": "test", "test": "unused"}, "validation_share": 0.1, "test_share": 0.1}
        split = parts.divide(manifest, label, np.ones(n, dtype=bool), seed=0, **asked)
        assert sorted([*split.train, *split.validation]) == list(range(30, 400)), column
        assert split.test.tolist() == list(range(400, 500))
        assert set(split.part[:30]) == set(split.part[500:]) == {""}


def a_run_on(samples, *, fold=0, validated=(), store="corpora/one-1", **params) -> runs.Upstream:
    """A run that tested, and validated, these samples."""
    run = runs.begin(stage="classifier", variant="teacher", study="mini", params=params)
    run.save_table("predictions", pd.DataFrame({"sample": samples, "fold": fold}))
    run.save_table("validation", pd.DataFrame({"sample": list(validated)}, dtype=np.int64))
    run.finish(metrics={"store": store})
    return runs.load("mini", "classifier", "teacher")


def test_a_teacher_learned_from_nothing_that_judges_its_student(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOLIB_DATA", str(tmp_path))
    manifest = pd.DataFrame({"sample": np.arange(100, 120)})
    judging = {"test": np.array([3, 5, 7]), "validation": np.array([8, 9]), "store": "corpora/one-1"}
    still_outputs.check_unseen(a_run_on([103, 105, 107, 109], validated=[108]), manifest, **judging)
    for teacher, says in [
        ({"samples": [103, 104, 109], "validated": [105, 107, 108]}, r"2 of the 3 stills tested .*sample 105"),
        ({"samples": [103, 105, 107], "validated": [109]}, r"1 of the 2 stills validated .*sample 108"),
        ({"samples": [103, 105, 107, 108, 109], "store": "corpora/one-2"}, "corpora/one-2, whose samples"),
    ]:
        with pytest.raises(ValueError, match=f"'classifier/teacher' .*{says}"):
            still_outputs.check_unseen(a_run_on(**teacher), manifest, **judging)


@pytest.mark.parametrize(
    ("run", "says"),
    [
        ({"fold": [0, 0, 1]}, r"tests in 2 fold\(s\)"),
        ({"complete": True}, "'complete': True"),
        ({"protocol": "reference"}, "'protocol': 'reference'"),
        ({"keep_duplicates_together": False}, "'keep_duplicates_together': False"),
    ],
)
def test_a_teacher_that_saw_its_own_test_is_refused(tmp_path, monkeypatch, run, says):
    monkeypatch.setenv("EMOLIB_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=f"'classifier/teacher' may have learned from .*{says}"):
        judging = {"test": np.arange(3), "validation": np.arange(0), "store": "corpora/one-1"}
        still_outputs.check_unseen(a_run_on([0, 1, 2], **run), pd.DataFrame({"sample": np.arange(3)}), **judging)


def test_parts_refuse():
    asked = {"validation_share": 0.2, "test_share": 0.2, "seed": 0}
    manifest, label, usable = manifest_of("ttttvvvv"), np.tile([0, 1], 4), np.ones(8, dtype=bool)
    with pytest.raises(ValueError, match="splits_as: 'PublicTest' as 'test'"):
        parts.divide(manifest, label, usable, splits_as={"PublicTest": "test"}, **asked)
    with pytest.raises(ValueError, match="splits_as: 'train' as 'nothing'"):
        parts.divide(manifest, label, usable, splits_as={"train": "nothing"}, **asked)
