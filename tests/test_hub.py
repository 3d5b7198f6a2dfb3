"""Fine-tuning of tiny encoders with drawn weights, saved as safetensors and read again; what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from emolib import hub
from emolib.cross_fitting import Parts
from emolib.ragged import Ragged

transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra 'hub')")

TINY = {
    **{"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24},
    **{"conv_dim": (8, 8), "conv_kernel": (10, 8), "conv_stride": (5, 4), "num_feat_extract_layers": 2},
    **dict.fromkeys(("attention_dropout", "activation_dropout", "feat_proj_dropout"), 0.0),
    **{"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2, "hidden_dropout": 0.0, "vocab_size": 5},
}
KINDS = {"wav2vec2": ("Wav2Vec2Config", "Wav2Vec2Model"), "hubert": ("HubertConfig", "HubertModel"),
         "wavlm": ("WavLMConfig", "WavLMModel")}  # fmt: skip


def saved(folder, kind: str = "wav2vec2", **change):
    """A tiny encoder with drawn weights in `folder`, as transformers saves it."""
    config, model = (getattr(transformers, name) for name in KINDS[kind])
    torch.manual_seed(0)
    model(config(**{**TINY, **change})).save_pretrained(folder)
    return folder


def tones(n_each: int = 6) -> tuple[Ragged, np.ndarray]:
    """Noise and hum, in turn: float32 [700 to 1,100 samples, 1] each, and which of the two it is."""
    rng, label = np.random.default_rng(0), np.tile([0, 1], n_each)
    recordings = []
    for own in label:
        n = int(rng.integers(700, 1100))
        noise, hum = rng.normal(size=n), np.sin(np.arange(n) * 2 * np.pi * 150 / 16_000) * 1.4
        recordings.append((0.1 * (hum if own else noise))[:, None].astype(np.float32))
    return Ragged.of_list(recordings), label


SOUND, LABEL = tones()
PARTS = Parts(np.arange(8), np.arange(8, 10), np.arange(8, 12), seed=1)
RECIPE = {"epochs": 4, "batch_size": 4, "learning_rate": 3e-3, "head_rate": 3.0, "warmup_share": 0.25}


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_saved_is_read_and_fine_tuned(tmp_path, kind):
    folder = saved(tmp_path, kind)
    assert hub.check_folder(folder) == kind
    found = hub.fit(PARTS, sequences=SOUND, label=LABEL, n_classes=2, folder=folder, recipe=RECIPE, device="cpu")
    assert found.posterior.shape == (4, 2)
    np.testing.assert_allclose(found.posterior.sum(axis=1), 1, atol=1e-5)
    history = found.tables["history"]
    assert len(history) == 4 and history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]


def test_the_encoder_has_the_weights_of_the_file_and_its_own_noise_off(tmp_path):
    original = transformers.Wav2Vec2Model.from_pretrained(
        saved(tmp_path, mask_time_prob=0.5, layerdrop=0.5), local_files_only=True
    )
    encoder = hub.load_encoder(tmp_path)
    theirs = original.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in encoder.state_dict().items())
    values = torch.randn(2, 900)
    encoder.train()  # TINY has no dropout, so what is left to draw would be masks and skipped layers
    with torch.no_grad():
        once, again = (encoder(values).last_hidden_state for _ in range(2))
    assert torch.equal(once, again)


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_padding_never_changes_an_answer(tmp_path, norm):
    network = hub.HubNetwork(hub.load_encoder(saved(tmp_path, feat_extract_norm=norm)), 3).eval()
    recordings = [torch.from_numpy(SOUND[row].copy()) for row in range(3)]
    length = torch.tensor([len(one) for one in recordings])
    batch = torch.full((3, int(length.max()) + 50, 1), 7.0)
    for row, one in enumerate(recordings):
        batch[row, : len(one)] = one
    with torch.inference_mode():
        alone = torch.cat([network(one[None], torch.tensor([len(one)])) for one in recordings])
        np.testing.assert_allclose(network(batch, length), alone, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="padded recordings received"):
        network.logits(batch, length)


def test_the_answer_is_the_mean_hidden_state_through_the_last_layer(tmp_path):
    network = hub.HubNetwork(hub.load_encoder(saved(tmp_path)), 3).eval()
    values = torch.from_numpy(SOUND[0].copy())[None]
    with torch.inference_mode():
        found = network(values, torch.tensor([values.shape[1]]))
        normed = (values - values.mean()) / values.std(correction=0)
        hidden = network.encoder(normed[:, :, 0]).last_hidden_state[0].mean(0)
        expected = network.classifier.weight @ hidden + network.classifier.bias
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-5)


def test_what_is_frozen_does_not_learn(tmp_path):
    encoder = hub.load_encoder(saved(tmp_path))
    network = hub.HubNetwork(encoder, 2, frozen_layers=1, gradient_checkpointing=True)
    learned = {name for name, weight in network.named_parameters() if weight.requires_grad}
    assert not any("feature_extractor" in name or "layers.0." in name for name in learned)
    assert any("layers.1." in name for name in learned) and "classifier.weight" in learned
    free = hub.HubNetwork(encoder.requires_grad_(True), 2, freeze_feature_encoder=False)
    assert all(weight.requires_grad for weight in free.parameters())
    with pytest.raises(ValueError, match="frozen_layers 3.*0 to 2"):
        hub.HubNetwork(encoder, 2, frozen_layers=3)


def test_the_shortest_recording_is_the_receptive_field(tmp_path):
    encoder = hub.load_encoder(saved(tmp_path))
    least = hub.shortest(encoder.config)
    assert least == (8 - 1) * 5 + 10 and encoder(torch.randn(1, least)).last_hidden_state.shape[1] == 1
    assert hub.shortest(transformers.Wav2Vec2Config()) == 400  # 25 ms at 16 kHz, as the paper says
    short = Ragged.of_list([SOUND[0], SOUND[1][: least - 1], *(SOUND[k] for k in range(2, 12))])
    with pytest.raises(ValueError, match=f"row 1: {least - 1} samples.*needs {least}"):
        hub.fit(PARTS, sequences=short, label=LABEL, n_classes=2, folder=tmp_path, recipe=RECIPE)


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ({}, FileNotFoundError, "config.json, model.safetensors missing; there are none"),
        ({"config.json": '{"model_type": "hubert"}'}, FileNotFoundError, "model.safetensors missing"),
        (
            {"config.json": '{"model_type": "hubert"}', "pytorch_model.bin": ""},
            FileNotFoundError,
            "model.safetensors missing.*pytorch_model.bin may run code",
        ),
        ({"config.json": "{}", "model.safetensors": ""}, ValueError, "model_type None found, allowed are wav2vec2"),
        ({"config.json": '{"model_type": "bert"}', "model.safetensors": ""}, ValueError, "model_type 'bert'"),
        ({"config.json": "no", "model.safetensors": ""}, ValueError, "config.json: no JSON object"),
        ({"config.json": "[]", "model.safetensors": ""}, ValueError, "config.json: no JSON object"),
        (
            {"config.json": "{}", "1.safetensors": "",
             "model.safetensors.index.json": '{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}'},
            FileNotFoundError,
            "2.safetensors missing",
        ),
        ({"config.json": "{}", "model.safetensors.index.json": "{}"}, ValueError, "no index of weights"),
    ],
)  # fmt: skip
def test_a_folder_that_does_not_hold_an_encoder_is_refused(tmp_path, files, error, message):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(error, match=message):
        hub.load_encoder(tmp_path)


def test_weights_that_are_not_the_encoders_are_refused(tmp_path):
    saved(tmp_path, num_hidden_layers=1)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    with pytest.raises(ValueError, match="of wav2vec2 are not among the weights: encoder.layers.1"):
        hub.load_encoder(tmp_path)


def test_without_transformers_the_extra_is_named(tmp_path, monkeypatch):
    saved(tmp_path)
    monkeypatch.setattr(hub.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"\[hub\]"):
        hub.load_encoder(tmp_path)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"options": {"layers": 1}}, TypeError, "layers received, allowed are dropout, frozen_layers"),
        ({"recipe": {**RECIPE, "crop_steps": 20}}, ValueError, "crop_steps 20; this encoder needs 45"),
        ({"sequences": Ragged.of_list([np.zeros((9, 2), np.float32)] * 12)}, ValueError, "2 columns received"),
    ],
)
def test_fit_refuses(tmp_path, change, error, message):
    given = {"sequences": SOUND, "label": LABEL, "n_classes": 2, "folder": saved(tmp_path), "recipe": RECIPE}
    with pytest.raises(error, match=message):
        hub.fit(PARTS, **{**given, **change})


@pytest.mark.parametrize("parts", [["pytorch_model.bin"], ["a.safetensors", "b.pt"]])
def test_an_index_that_names_a_pickle_is_refused(tmp_path, parts):
    saved(tmp_path)
    index = {"weight_map": {f"tensor{k}": name for k, name in enumerate(parts)}}
    (tmp_path / hub.INDEX).write_text(json.dumps(index))
    with pytest.raises(ValueError, match=f"{parts[-1]} named, only .safetensors is allowed"):
        hub.check_folder(tmp_path)


@pytest.mark.parametrize("damage", ["empty", "cut", "other"])
def test_weights_that_cannot_be_read_are_named_with_their_folder(tmp_path, damage):
    file = saved(tmp_path) / hub.WEIGHTS
    if damage == "other":
        config = json.loads((tmp_path / hub.CONFIG).read_text())
        (tmp_path / hub.CONFIG).write_text(json.dumps({**config, "hidden_size": 32}))
    else:
        file.write_bytes(file.read_bytes()[: 0 if damage == "empty" else 200])
    with pytest.raises(ValueError, match=f"{tmp_path}: weights cannot be read, or do not fit"):
        hub.load_encoder(tmp_path)


def test_the_digest_is_of_the_weights(tmp_path):
    before = hub.digest(saved(tmp_path))
    assert hub.digest(tmp_path) == before
    saved(tmp_path, hidden_act="relu")
    assert hub.digest(tmp_path) != before
