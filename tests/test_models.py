"""Networks: sizes, the transformer at its start, transfer of weights, weights as files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from emolib import models
from emolib.models.deep_emotion import affine_grid


def pictures(n: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 1, 48, 48, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize(
    ("name", "n_classes", "n_parameters"),
    [("guided", 8, 66_928), ("guided", 3, 66_673), ("original", 8, 66_928), ("baseline", 8, 43_808)],
)
def test_parameter_counts(name, n_classes, n_parameters):
    model = models.build(name, n_classes)
    assert sum(tensor.numel() for tensor in model.parameters()) == n_parameters


def conv_parameters(n_in: int, n_out: int, size: int = 3, *, bias: bool = True, norm: bool = False) -> int:
    return size * size * n_in * n_out + n_out * bias + 2 * n_out * norm


def test_plain_cnn_has_as_many_parameters_as_its_formula_says():
    convs = sum(conv_parameters(n_in, n_out) for n_in, n_out in [(1, 32), (32, 64), (64, 128), (128, 256)])
    hidden, last = 256 * (48 // 2**4) ** 2 * 512 + 512, 512 * 7 + 7
    model = models.build("plain_cnn", 7)
    assert sum(tensor.numel() for tensor in model.parameters()) == convs + hidden + last == 1_571_591


def test_vgg_has_as_many_parameters_as_its_formula_says():
    model = models.build("vgg", 7, widths=[8, 16], blocks=[1, 2])
    normed = sum(conv_parameters(*pair, bias=False, norm=True) for pair in [(1, 8), (8, 16), (16, 16)])
    assert sum(tensor.numel() for tensor in model.parameters()) == normed + 16 * 7 + 7


def test_resnet_has_as_many_parameters_as_its_formula_says():
    model = models.build("resnet", 7, widths=[8, 16], blocks=[1, 1], stem_width=4, squeeze=False)
    threes = [(1, 4), (4, 8), (8, 8), (8, 16), (16, 16)]
    normed = sum(conv_parameters(*pair, bias=False, norm=True) for pair in threes)
    normed += sum(conv_parameters(*pair, 1, bias=False, norm=True) for pair in [(4, 8), (8, 16)])
    assert sum(tensor.numel() for tensor in model.parameters()) == normed + 16 * 7 + 7


@pytest.mark.parametrize("name", models.MODELS)
@pytest.mark.parametrize("n_classes", [2, 7])
def test_shapes(name, n_classes):
    model = models.build(name, n_classes).eval()
    image, guide = pictures(3), pictures(3, seed=1)
    embedding = model.embed(image, guide)
    assert model(image, guide).shape == (3, n_classes) and embedding.shape == (3, model.embedding_size)
    assert (embedding >= 0).all()
    torch.testing.assert_close(model.classifier(embedding), model(image, guide))
    if not model.needs_guide:
        torch.testing.assert_close(model(image), model(image, guide))


@pytest.mark.parametrize("name", ["vgg", "resnet"])
@pytest.mark.parametrize("size", [16, 33, 48, 64])
def test_compact_networks_read_pictures_of_any_size(name, size):
    model = models.build(name, 3).eval()
    assert model(torch.zeros(2, 1, size, size)).shape == (2, 3)


@pytest.mark.parametrize(("first_stride", "size"), [(1, 24), (2, 12)])
def test_stages_of_a_resnet_halve_the_picture(first_stride, size):
    model = models.build("resnet", 3, widths=[4, 8], blocks=[1, 1], first_stride=first_stride).eval()
    assert model.features(pictures(1)).shape == (1, 8, size, size)


def test_drop_path_skips_branches_while_training_only():
    model = models.build("resnet", 3, widths=[8], blocks=[2], stem_width=8, drop_path=0.5)
    x = pictures(1).repeat(16, 8, 1, 1).relu()
    block = model.features[3].eval()
    assert torch.equal(*block(x)[:2])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        same = [torch.allclose(out, own) for out, own in zip(block.train()(x), x, strict=True)]
    assert any(same) and not all(same)


def test_cnn_is_the_published_one():
    """Layer by layer as system B writes it, functionally."""
    model = models.build("baseline", 4).eval()
    state, image = model.state_dict(), pictures(2)
    with torch.no_grad():
        model.norm.running_mean.uniform_(-0.2, 0.2)

    def conv(x, layer):
        return F.conv2d(x, state[f"{layer}.weight"], state[f"{layer}.bias"])

    x = conv(conv(image, "conv1").relu(), "conv2")
    x = conv(F.max_pool2d(x, 2).relu(), "conv3").relu()
    x = conv(x, "conv4")
    mean, variance = state["norm.running_mean"].view(-1, 1, 1), state["norm.running_var"].view(-1, 1, 1)
    x = (x - mean) / (variance + 1e-5).sqrt() * state["norm.weight"].view(-1, 1, 1) + state["norm.bias"].view(-1, 1, 1)
    x = F.max_pool2d(x, 2).relu().flatten(1)
    assert x.shape == (2, 810)
    x = (x @ state["hidden.weight"].T + state["hidden.bias"]).relu()
    expected = x @ state["classifier.weight"].T + state["classifier.bias"]
    torch.testing.assert_close(model(image), expected, rtol=1e-4, atol=1e-5)


@given(seed=st.integers(0, 1000), size=st.integers(2, 9))
@settings(max_examples=25, deadline=None)
def test_affine_grid_is_torchs(seed, size):
    theta = torch.randn(3, 2, 3, generator=torch.Generator().manual_seed(seed))
    expected = F.affine_grid(theta, [3, 1, size, size], align_corners=False)
    torch.testing.assert_close(affine_grid(theta, size), expected)
    torch.testing.assert_close(torch.func.vmap(lambda one: affine_grid(one[None], size)[0])(theta), expected)


@pytest.mark.parametrize("name", ["original", "guided"])
def test_an_untrained_transformer_is_the_identity(name):
    image = pictures(4)
    torch.testing.assert_close(models.build(name, 3).warp(image, pictures(4, seed=1)), image, rtol=0, atol=1e-5)


def test_the_guide_decides_the_transform_and_the_image_is_warped():
    model = models.build("guided", 3).eval()
    torch.nn.init.normal_(model.localisation.theta.weight, std=0.3, generator=torch.Generator().manual_seed(0))
    image, guide = pictures(2), pictures(2, seed=1)
    other_guide = model.warp(image, pictures(2, seed=2))
    assert not torch.allclose(model.warp(image, guide), other_guide)
    theta = model.localisation(guide)
    expected = F.grid_sample(image, F.affine_grid(theta, image.shape, align_corners=False), align_corners=False)
    torch.testing.assert_close(model.warp(image, guide), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("alexnet", 3, {}), ValueError, "'alexnet' received, allowed are baseline, original, guided"),
        (("guided", 1, {}), ValueError, "n_classes: 1"),
        (("guided", 3, {"droput": 0.5}), TypeError, "droput received, allowed are second_dropout"),
        (("guided", 3, {"transform_from": "image"}), TypeError, "transform_from"),
        (("guided", 3, {"second_dropout": 1.0}), ValueError, r"\[0, 1\) is allowed"),
        (("plain_cnn", 1, {}), ValueError, "n_classes: 1"),
        (("plain_cnn", 3, {"dropout": 1.0}), ValueError, "dropout: 1.0"),
        (("plain_cnn", 3, {"widths": [8]}), TypeError, "widths received, allowed are dropout"),
        (("vgg", 3, {"widths": [8], "blocks": [1, 1]}), ValueError, r"widths \[8\], blocks \[1, 1\]"),
        (("vgg", 3, {"widths": [], "blocks": []}), ValueError, "as many of one as of the other"),
        (("resnet", 3, {"widths": [0], "blocks": [1]}), ValueError, "1 or more each"),
        (("resnet", 3, {"drop_path": 1.0}), ValueError, "drop_path 1.0"),
        (("resnet", 3, {"first_stride": 3}), ValueError, "first_stride: 3 received, 1 or 2"),
        (("resnet", 1, {}), ValueError, "n_classes: 1"),
    ],
)
def test_build_refuses(arguments, error, message):
    name, n_classes, options = arguments
    with pytest.raises(error, match=message):
        models.build(name, n_classes, **options)


def test_a_guided_network_without_guide_is_an_error():
    with pytest.raises(ValueError, match="needs a guide"):
        models.build("guided", 3)(pictures(1))


def test_transfer_replaces_the_last_layer_only():
    source, model = models.build("guided", 3), models.build("guided", 8)
    fresh = model.classifier.weight.clone()
    report = models.load_transfer(model, source.state_dict())
    assert report.replaced == ["classifier.weight", "classifier.bias"] and report.missing == []
    assert set(report.taken) | set(report.replaced) == set(model.state_dict())
    assert torch.equal(model.classifier.weight, fresh)
    assert all(torch.equal(model.state_dict()[name], source.state_dict()[name]) for name in report.taken)
    assert "started afresh: classifier.weight, classifier.bias" in str(report)


@pytest.mark.parametrize("name", ["plain_cnn", "vgg", "resnet"])
def test_classifiers_start_from_one_of_other_classes(name):
    source, model = models.build(name, 3), models.build(name, 7)
    report = models.load_transfer(model, source.state_dict(), skip=(model.last_layer,))
    assert report.replaced == ["classifier.weight", "classifier.bias"] and not report.missing


def test_transfer_takes_a_last_layer_that_fits():
    source, model = models.build("original", 5), models.build("original", 5)
    report = models.load_transfer(model, source.state_dict())
    assert not report.replaced and not report.missing
    assert torch.equal(model.classifier.weight, source.classifier.weight)


def test_transfer_reports_a_last_layer_that_is_absent():
    model = models.build("baseline", 3)
    state = {name: t for name, t in model.state_dict().items() if not name.startswith("classifier")}
    assert models.load_transfer(model, state).missing == ["classifier.weight", "classifier.bias"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("conv2.weight"), "conv2.weight is missing"),
        (lambda state: state.update({"extra.weight": torch.zeros(1)}), "extra.weight is unknown"),
        (lambda state: state.update({"hidden.bias": torch.zeros(49)}), r"hidden.bias has shape \(49,\), \(50,\)"),
    ],
)
def test_transfer_refuses_any_other_mismatch(change, message):
    model = models.build("guided", 8)
    state = dict(models.build("guided", 3).state_dict())
    change(state)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        models.load_transfer(model, state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_transfer_refuses_to_skip_a_layer_that_is_not_there():
    model = models.build("guided", 3)
    with pytest.raises(ValueError, match="'fc2' is no layer"):
        models.load_transfer(model, model.state_dict(), skip=("fc2",))


def test_weights_as_a_file(tmp_path):
    model = models.build("guided", 3, second_dropout=0.5).to(memory_format=torch.channels_last).eval()
    file, classes = tmp_path / "fold0.safetensors", ["neutral", "positive", "negative"]
    options = {"second_dropout": 0.5}
    models.save_weights(file, model.state_dict(), model="guided", classes=classes, options=options)
    weights = models.load_weights(file)
    assert (weights.model, weights.n_classes, weights.classes, weights.options) == ("guided", 3, classes, options)
    again = models.build(weights.model, weights.n_classes, **weights.options).eval()
    again.load_state_dict(weights.state)
    torch.testing.assert_close(again(pictures(2), pictures(2)), model(pictures(2), pictures(2)))
    assert [path.name for path in tmp_path.iterdir()] == ["fold0.safetensors"]


def test_weights_refuse(tmp_path):
    state = models.build("baseline", 3).state_dict()
    file = tmp_path / "weights.safetensors"
    with pytest.raises(ValueError, match="3 classes, 2 are named"):
        models.save_weights(file, state, model="baseline", classes=["a", "b"])
    with pytest.raises(FileNotFoundError, match="no file of weights"):
        models.load_weights(file)
    file.write_bytes(np.arange(100, dtype=np.uint8).tobytes())
    with pytest.raises(ValueError, match=r"weights.safetensors: not a complete safetensors file"):
        models.load_weights(file)
    save_file(state, file)
    with pytest.raises(ValueError, match="schema version None"):
        models.load_weights(file)
    models.save_weights(file, state, model="baseline", classes=["a", "b", "c"])
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ValueError, match="not a complete"):
        models.load_weights(file)
