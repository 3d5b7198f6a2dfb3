"""Start a network from another one's weights: everything is taken but, for other classes, the last layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class TransferReport:
    """Names of the model's tensors by what became of them.

    Attributes
    ----------
    taken : copied from the state.
    replaced : in the state with another shape, so the model's fresh tensor stays (last layer only).
    missing : not in the state, so the model's fresh tensor stays (last layer only).
    """

    taken: list[str]
    replaced: list[str]
    missing: list[str]

    def __str__(self) -> str:
        fresh = ", ".join(self.replaced + self.missing) or "none"
        return f"{len(self.taken)} tensors taken; started afresh: {fresh}"


def load_transfer(
    model: nn.Module, state: Mapping[str, Tensor], *, skip: Sequence[str] = ("classifier",)
) -> TransferReport:
    """Copy `state` into `model`; only the layers in `skip` may differ in shape or be absent, and then stay fresh.

    Parameters
    ----------
    model : changed in place.
    state : tensors by name, as ``model.state_dict()`` gives them.
    skip : names of layers that are left fresh where their shape differs (the last layer, for another number of
        classes). One that fits is taken whole, never half of it.

    Raises
    ------
    ValueError
        `skip` names no layer of the model, or another tensor of model and state differs in shape or is in one only.
    """
    own = model.state_dict()
    for layer in skip:
        if not any(name.startswith(f"{layer}.") for name in own):
            raise ValueError(f"skip: {layer!r} is no layer of the model; it has {', '.join(_layers(own))}")
    missing = [name for name in own if name not in state]
    unknown = [name for name in state if name not in own]
    shapes = [name for name in own if name in state and own[name].shape != state[name].shape]
    faults = [f"{name} is missing in the state" for name in missing if _layer(name) not in skip]
    faults += [f"{name} is unknown to the model" for name in unknown if _layer(name) not in skip]
    faults += [
        f"{name} has shape {tuple(state[name].shape)}, {tuple(own[name].shape)} is expected"
        for name in shapes
        if _layer(name) not in skip
    ]
    if faults:
        raise ValueError(f"the weights do not fit the model outside {', '.join(skip)}: {'; '.join(faults)}")
    fresh = {_layer(name) for name in missing + shapes}
    taken = [name for name in own if _layer(name) not in fresh]
    model.load_state_dict({**own, **{name: state[name] for name in taken}})
    replaced = [name for name in own if _layer(name) in fresh and name not in missing]
    return TransferReport(taken=taken, replaced=replaced, missing=missing)


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _layers(state: Mapping[str, Tensor]) -> list[str]:
    return list(dict.fromkeys(map(_layer, state)))
