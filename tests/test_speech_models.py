"""Networks over spectrograms: padding never changes an answer, options are checked, a hand-computed case."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emolib.speech import models

BANDS, CLASSES = 13, 5
SMALL = {
    "cnn": {"widths": [4, 6, 8], "blocks": [1, 2, 1]},
    "bilstm_attention": {"units": 6},
    "temporal_convolution": {"units": 6, "layers": 2},
    "transformer": {"units": 8, "layers": 1, "heads": 2, "feedforward": 8},
}
VARIANTS = [(name, SMALL[name]) for name in models.MODELS] + [
    ("cnn", {**SMALL["cnn"], **more})
    for more in ({"residual": True}, {"pooling": "attention"}, {"band_input": False}, {"widths": [4], "blocks": [1]})
]


def trained(name: str, options: dict, seed: int = 0) -> models.SpeechNetwork:
    """A network whose normalisation is that of no fresh one."""
    torch.manual_seed(seed)
    network = models.build(name, BANDS, CLASSES, options=options).eval()
    with torch.no_grad():
        network.centre.normal_()
        network.scale.uniform_(0.5, 2)
        for norm in (part for part in network.modules() if isinstance(part, torch.nn.BatchNorm2d)):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
            norm.bias.normal_()
    return network


@pytest.mark.parametrize(("name", "options"), VARIANTS)
@given(lengths=st.lists(st.integers(1, 37), min_size=2, max_size=5), seed=st.integers(0, 99))
@settings(max_examples=12, deadline=None)
def test_padding_never_changes_an_answer(name, options, lengths, seed):
    network, rng = trained(name, options), np.random.default_rng(seed)
    recordings = [torch.from_numpy(rng.normal(size=(n, BANDS)).astype(np.float32)) for n in lengths]
    length = torch.tensor(lengths)
    with torch.inference_mode():
        alone = torch.cat([network(one[None], torch.tensor([len(one)])) for one in recordings])
        for rest in (0.0, 1e4, float("nan")):
            batch = torch.full((len(lengths), max(lengths) + 3, BANDS), rest)
            for row, one in enumerate(recordings):
                batch[row, : len(one)] = one
            together = network(batch, length)
            np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pooling", models.POOLINGS)
def test_without_the_mask_padding_would_change_the_answer(pooling):
    network = trained("cnn", {**SMALL["cnn"], "pooling": pooling})
    one = torch.randn(1, 9, BANDS)
    longer = torch.cat([one, torch.zeros(1, 9, BANDS)], 1)
    with torch.inference_mode():
        alone, unmasked = network(one, torch.tensor([9])), network(longer, torch.tensor([18]))
    assert (alone - unmasked).abs().max() > 1e-2


def test_the_smallest_cnn_is_what_is_worked_out_by_hand():
    network = trained("cnn", {"widths": [2], "blocks": [1], "band_input": False})
    values = torch.randn(1, 7, BANDS)
    with torch.inference_mode():
        found = network(values, torch.tensor([7]))[0].numpy()
    inner = network.network
    layer = inner.stages[0][0]
    scaled = ((values - network.centre) / network.scale)[0].numpy()  # [T, F]
    picture = np.pad(scaled.T, 1)
    kernel = layer.conv.weight.detach().numpy()[:, 0]
    maps = np.array(
        [
            [[(picture[f : f + 3, t : t + 3] * one).sum() for t in range(7)] for f in range(BANDS)]
            for one in kernel
        ]
    )  # fmt: skip
    norm = {name: getattr(layer.norm, name).detach().numpy()[:, None, None] for name in ("weight", "bias")}
    norm |= {name: getattr(layer.norm, name).numpy()[:, None, None] for name in ("running_mean", "running_var")}
    maps = (maps - norm["running_mean"]) / np.sqrt(norm["running_var"] + layer.norm.eps) * norm["weight"] + norm["bias"]
    steps = np.maximum(maps, 0).mean(axis=1)  # [channels, T]
    pooled = steps.mean(axis=1) + steps.max(axis=1)
    expected = inner.classifier.weight.detach().numpy() @ pooled + inner.classifier.bias.detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_attentive_pooling_is_the_mean_and_spread_where_all_scores_are_equal():
    pool = models._Attention(6)
    torch.nn.init.zeros_(pool.score[2].weight)
    values, length = torch.randn(2, 9, 6), torch.tensor([9, 4])
    found = pool(values, length).detach().numpy()
    for row, n in enumerate(length.tolist()):
        own = values[row, :n].numpy()
        np.testing.assert_allclose(found[row, :6], own.mean(axis=0), atol=1e-5)
        np.testing.assert_allclose(found[row, 6:], own.std(axis=0), atol=1e-3)


def test_the_band_input_tells_bands_apart():
    one = torch.zeros(1, 12, BANDS)
    low, high = one.clone(), one.clone()
    low[..., 3], high[..., 9] = 4, 4
    length = torch.tensor([12])
    differences = {}
    for band_input in (False, True):
        network = trained("cnn", {**SMALL["cnn"], "widths": [4], "blocks": [1], "band_input": band_input})
        network.centre.zero_()
        network.scale.fill_(1)
        with torch.inference_mode():
            differences[band_input] = float((network(low, length) - network(high, length)).abs().max())
    assert differences[False] < 1e-5 < 1e-3 < differences[True]


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_all_weights_learn(name, options):
    network = trained(name, options).train()
    network(torch.randn(4, 16, BANDS), torch.tensor([16, 16, 16, 16])).square().sum().backward()
    assert [n for n, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()] == []
    assert network.last_layer().out_features == CLASSES


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("rnn", {}, ValueError, "'rnn' received, allowed are cnn, bilstm_attention"),
        ("cnn", {"width": [4]}, TypeError, "width received, allowed are widths, blocks"),
        ("cnn", {"widths": [4, 8]}, ValueError, "as many of one"),
        ("cnn", {"widths": [], "blocks": []}, ValueError, "as many of one"),
        ("cnn", {"pooling": "max"}, ValueError, "mean_max, attention"),
        ("cnn", {"dropout": 1.0}, ValueError, "dropout 1.0"),
        ("bilstm_attention", {"unit": 3}, TypeError, "unit received"),
    ],
)
def test_build_refuses(name, options, error, message):
    with pytest.raises(error, match=message):
        models.build(name, BANDS, CLASSES, options=options)
    with pytest.raises(ValueError, match="n_classes"):
        models.build("cnn", BANDS, 1)
