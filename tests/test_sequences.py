"""Models of sequences: padding never changes an answer, and what the reference does with it is shown to fail."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from emolib import sequences
from emolib.sequences import masking, models
from emolib.sequences.encoders import Recurrent, positions

N_FEATURES, N_CLASSES = 5, 8
SMALL = {
    "bilstm_attention": {"units": 6},
    "temporal_convolution": {"units": 8, "layers": 3},
    "transformer": {"units": 8, "layers": 2, "heads": 2, "feedforward": 16},
}
VARIANTS = [(name, more) for name in SMALL for more in ({}, {"context": True}, {"attention_layers": 0})]
VARIANTS.append(("bilstm_attention", {"bidirectional": False}))


def made(name, more=(), seed=0):
    torch.manual_seed(seed)
    network = models.build(name, N_FEATURES, N_CLASSES, **{**SMALL[name], **dict(more)}).eval()
    network.centre, network.scale = torch.randn(N_FEATURES), torch.rand(N_FEATURES) + 0.5
    return network


def padded(values, n_steps, filling):
    batch = torch.full((len(values), n_steps, N_FEATURES), filling)
    for row, one in enumerate(values):
        batch[row, : len(one)] = one
    return batch, torch.tensor([len(one) for one in values])


@pytest.mark.parametrize(("name", "more"), VARIANTS)
@torch.inference_mode()
def test_padding_and_company_change_no_answer(name, more):
    network, lengths = made(name, more), [4, 1, 9, 30, 2]
    values = [torch.randn(n, N_FEATURES) for n in lengths]
    alone = [network(*padded([one], len(one), 0.0)) for one in values]
    assert all(logits.shape == (1, N_CLASSES) for logits, _ in alone), "a batch of one keeps its dimension"
    for n_steps, filling in ((30, 0.0), (41, 1e4), (30, torch.nan), (33, torch.inf)):
        logits, weight = network(*padded(values, n_steps, filling))
        np.testing.assert_allclose(logits.softmax(1), torch.cat([one.softmax(1) for one, _ in alone]), atol=1e-6)
        if weight is None:
            assert more == {"attention_layers": 0}
            continue
        assert weight.shape == (len(values), n_steps)
        np.testing.assert_allclose(weight.sum(1), 1, atol=1e-6)
        for row, n in enumerate(lengths):
            np.testing.assert_allclose(weight[row, :n], alone[row][1][0], atol=1e-6)
            assert (weight[row, n:] == 0).all()


class AsTheReference(nn.Module):
    """System C's attention: normalised over all steps first, then masked; squeezed, so that a batch of one is lost."""

    def __init__(self, score, *, renormalise):
        super().__init__()
        self.score, self.renormalise = score, renormalise

    def forward(self, hidden, mask):
        weight = self.score(hidden).squeeze().softmax(-1) * mask
        if self.renormalise:
            weight = weight / weight.sum(-1, keepdim=True)
        return (hidden * weight.unsqueeze(-1)).sum(1).squeeze(), weight


class Given(nn.Module):
    """Scores [B, T] that are what they are, whatever the steps hold."""

    def __init__(self, score):
        super().__init__()
        self.values = score[:, :, None]

    def forward(self, hidden):
        return self.values


def reference(network, *, renormalise):
    other = made("bilstm_attention")
    other.load_state_dict(network.state_dict())
    other.attention = AsTheReference(network.attention.score, renormalise=renormalise)
    return other.eval()


@torch.inference_mode()
def test_normalising_before_masking_fails_where_ours_does_not():
    network = made("bilstm_attention")
    values = [torch.randn(n, N_FEATURES) for n in (4, 9)]
    ours = network(*padded(values, 9, 0.0))
    # masked only: the weights of the shorter sequence no longer sum to 1, and its answer is another one
    logits, weight = reference(network, renormalise=False)(*padded(values, 9, 0.0))
    assert weight[0].sum() < 0.9 and weight[1].sum() == pytest.approx(1)
    assert (logits[0] - ours[0][0]).abs().max() > 1e-3
    longer = reference(network, renormalise=False)(*padded(values, 40, 0.0))[0]
    assert (longer - logits).abs().max() > 1e-3, "the padding changes the answer"
    # masked and divided by what is left: equal while scores are bounded by tanh and the padding is finite ...
    logits, weight = reference(network, renormalise=True)(*padded(values, 9, 0.0))
    np.testing.assert_allclose(logits, ours[0], atol=1e-5)
    # ... lost where they are not: one large score in the padding leaves 0 / 0
    score, mask = torch.tensor([[0.0, 1.0, 200.0]]), torch.tensor([[True, True, False]])
    hidden = torch.ones(1, 3, 2)
    assert AsTheReference(Given(score), renormalise=True)(hidden, mask)[1].isnan().all()
    right = masking.SelfAttention(2, layers=1, dropout=0, context=False)
    right.score = Given(score)
    np.testing.assert_allclose(right(hidden, mask)[1], [[0.268941, 0.731059, 0]], atol=1e-6)


@pytest.mark.parametrize("renormalise", [True, False])
@torch.inference_mode()
def test_squeezing_loses_a_batch_of_one_and_a_sequence_of_one(renormalise):
    network = made("bilstm_attention")
    other = reference(network, renormalise=renormalise)
    assert other(*padded([torch.randn(7, N_FEATURES)], 7, 0.0))[0].shape == (N_CLASSES,)
    short = padded([torch.randn(1, N_FEATURES), torch.randn(1, N_FEATURES)], 1, 0.0)
    # a lone step has weight 1; squeezed, the batch itself is what the softmax runs over
    assert other.attention(torch.randn(2, 1, 12), torch.ones(2, 1, dtype=torch.bool))[1].shape == (2, 2)
    assert network(*short)[0].shape == (2, N_CLASSES) and (network(*short)[1] == 1).all()


@torch.inference_mode()
def test_the_recurrent_layers_are_a_packed_lstm():
    torch.manual_seed(1)
    ours = Recurrent(N_FEATURES, units=6, layers=2, dropout=0.3, bidirectional=True).eval()
    theirs = nn.LSTM(N_FEATURES, 6, num_layers=2, bidirectional=True, batch_first=True)
    names = {f"{kind}_{what}_l{k}{'_reverse' * way}": (k, way, f"{kind}_{what}_l0")
             for kind in ("weight", "bias") for what in ("ih", "hh") for k in (0, 1) for way in (0, 1)}  # fmt: skip
    theirs.load_state_dict({name: getattr(ours.layers[k][way], own) for name, (k, way, own) in names.items()})
    values, length = padded([torch.randn(n, N_FEATURES) for n in (3, 8, 1, 5)], 8, 0.0)
    packed = nn.utils.rnn.pack_padded_sequence(values, length, batch_first=True, enforce_sorted=False)
    expected, _ = nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
    mask = masking.step_mask(length, 8)
    found = masking.without_padding(ours(values, length, mask), mask)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 4))
@settings(max_examples=40, deadline=None)
def test_turning_round_twice_is_nothing_and_padding_stays(lengths, extra):
    length, n_steps = torch.tensor(lengths), max(lengths) + extra
    turned = masking.reversed_steps(length, n_steps)
    values = torch.arange(n_steps).float().expand(len(lengths), -1)[:, :, None]
    once = masking.reordered(values, turned)
    for row, n in enumerate(lengths):
        assert once[row, :, 0].tolist() == [*range(n - 1, -1, -1), *range(n, n_steps)]
    torch.testing.assert_close(masking.reordered(once, turned), values)


@pytest.mark.parametrize("n_features", [17, 35])
def test_the_three_are_of_one_size(n_features):
    size = {name: sum(one.numel() for one in models.build(name, n_features, 8).parameters()) for name in models.MODELS}
    assert max(size.values()) <= 1.2 * min(size.values()), size
    if n_features == 35:  # by hand: 4 gates of (inputs + units + 2 biases), two directions, two layers
        lstm = 2 * 4 * 50 * (35 + 50 + 2) + 2 * 4 * 50 * (100 + 50 + 2)
        assert size["bilstm_attention"] == lstm + (100 * 100 + 100 + 100 + 1) + (100 * 8 + 8)


@pytest.mark.parametrize("name", list(SMALL))
def test_the_gradient_does_not_reach_padding(name):
    network = made(name).train()
    values, length = padded([torch.randn(n, N_FEATURES) for n in (3, 6)], 6, 0.5)
    values.requires_grad_(True)
    network(values, length)[0].square().sum().backward()
    assert (values.grad[0, 3:] == 0).all() and (values.grad[0, :3] != 0).any()


def test_positions_differ_from_step_to_step_and_from_nothing_else():
    found = positions(50, 8)
    assert found.shape == (50, 8) and len(np.unique(found.numpy().round(4), axis=0)) == 50
    np.testing.assert_array_equal(found[:20], positions(20, 8))
    np.testing.assert_allclose(found[:, 0], np.sin(np.arange(50)), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "error", "says"),
    [
        ("gru", {}, ValueError, "'gru' received, allowed are bilstm_attention, temporal_convolution, transformer"),
        ("bilstm_attention", {"unit": 3}, TypeError, "unit received, allowed are units, layers, dropout"),
        ("bilstm_attention", {"heads": 3}, TypeError, "heads received"),
        ("bilstm_attention", {"units": 0}, ValueError, "units = 0 received, a whole number >= 1"),
        ("bilstm_attention", {"dropout": 1.0}, ValueError, "dropout = 1.0 received"),
        ("bilstm_attention", {"context": 1}, ValueError, "context = 1 received, True or False"),
        ("temporal_convolution", {"kernel_size": 4}, ValueError, "kernel_size = 4 received, an odd number"),
        ("transformer", {"heads": 5}, ValueError, "units = 64 received, an even multiple of heads = 5"),
    ],
)
def test_what_is_not_allowed_is_named(name, options, error, says):
    with pytest.raises(error, match=says):
        sequences.build(name, 5, 8, **options)
