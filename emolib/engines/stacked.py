"""The GPU's engine: all members in one stack of parameters, a step of all of them in one set of kernels.

The kernels of one such network leave a GPU idle; `torch.func.vmap` over stacked parameters fills it with the members.
What a step computes for a member is what `emolib.engines.steps` computes, but for dropout's draws and the order of
sums. Members of unequal length are no approximation: full batches are stepped together, each member's last short one
with those of equal size, and a member that is finished takes part in nothing.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from emolib.engines.plan import class_weights, dropout_seed, epoch_order, start
from emolib.engines.progress import Progress, load_checkpoint, portable, save_checkpoint
from emolib.engines.steps import EVALUATION_BATCH, Data, Job, inputs

# As torch.optim.Adam's defaults.
_BETA1, _BETA2, _EPS = 0.9, 0.999, 1e-8


@dataclass
class Stack:
    """Members' tensors along a first axis of M: parameters flat, so that an optimiser's operation is one kernel."""

    template: nn.Module
    shapes: dict[str, torch.Size]
    parameters: Tensor  # [M, P]
    buffers: dict[str, Tensor]  # [M, ...] each
    mean: Tensor  # [M, P], Adam's first moment
    square: Tensor  # [M, P], its second moment
    n_steps: Tensor  # float64 [M]

    @classmethod
    def of(cls, models: Sequence[nn.Module]) -> Stack:
        parameters, buffers = stack_module_state(list(models))
        flat = torch.cat([tensor.detach().flatten(1) for tensor in parameters.values()], dim=1)
        shapes = {name: tensor.shape[1:] for name, tensor in parameters.items()}
        n_steps = torch.zeros(len(models), dtype=torch.float64, device=flat.device)
        return cls(models[0], shapes, flat, buffers, torch.zeros_like(flat), torch.zeros_like(flat), n_steps)

    def unflatten(self, flat: Tensor) -> dict[str, Tensor]:
        """Named views of `flat` [..., P]."""
        parts = flat.split([shape.numel() for shape in self.shapes.values()], dim=-1)
        pairs = zip(self.shapes.items(), parts, strict=True)
        return {name: part.reshape(*flat.shape[:-1], *shape) for (name, shape), part in pairs}

    def forward(self, parameters: Tensor, buffers: dict[str, Tensor], arguments: tuple[Tensor, ...]) -> Tensor:
        """Logits [m, b, C] of arguments [m, b, 1, 48, 48]; in training mode `buffers` are updated in place."""

        def one(parameters, buffers, *arguments):
            return functional_call(self.template, (parameters, buffers), arguments)

        return vmap(one, randomness="different")(self.unflatten(parameters), buffers, *arguments)

    def state(self, member: int) -> dict[str, Tensor]:
        """State of one member, named and ordered as its model's."""
        own = self.unflatten(self.parameters[member]) | {name: tensor[member] for name, tensor in self.buffers.items()}
        return {name: own[name] for name in self.template.state_dict()}

    def optimiser_state(self, member: int) -> dict[str, Tensor]:
        return {name: getattr(self, name)[member].to("cpu", copy=True) for name in ("mean", "square", "n_steps")}

    def restore(self, member: int, state: dict[str, Tensor], optimiser: dict[str, Tensor]) -> None:
        self.parameters[member] = torch.cat([state[name].flatten() for name in self.shapes]).to(self.parameters.device)
        for name, tensor in self.buffers.items():
            tensor[member] = state[name].to(tensor.device)
        for name, tensor in optimiser.items():
            getattr(self, name)[member] = tensor.to(self.parameters.device)


def run(data: Data, jobs: Sequence[Job], *, on_epoch: Callable[[int, Progress], None]) -> list[Progress]:
    """Train `jobs` (of one network and recipe) together on the device where `data` lies; progress in their order.

    Not deterministic to the bit on a GPU (atomic additions in its kernels); on a CPU a given stack is.
    """
    device, recipe = data.image.device, jobs[0].recipe
    stack = Stack.of([start(job.member, job.network).to(device) for job in jobs])
    progress = [Progress() for _ in jobs]
    for number, job in enumerate(jobs):
        if job.checkpoint is not None and job.checkpoint.exists():
            state, optimiser, progress[number] = load_checkpoint(job.checkpoint, settings=job.settings)
            stack.restore(number, state, optimiser)
            on_epoch(number, progress[number])
    weight = _class_weights(data, jobs) if recipe.class_weights else None
    while active := [number for number, item in enumerate(progress) if not item.finished(recipe)]:
        began = time.perf_counter()
        epochs = {number: progress[number].epoch + 1 for number in active}
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(dropout_seed(jobs[active[0]].member.seed, epochs[active[0]]))
            training = _train_epoch(stack, data, jobs, epochs=epochs, weight=weight)
        validation = _evaluate(stack, data, jobs, active)
        seconds = time.perf_counter() - began
        for number in active:
            row = training[number] | validation[number] | {"seconds": seconds}
            _finish_epoch(stack, number, jobs[number], progress[number], row)
            on_epoch(number, progress[number])
    return progress


def _finish_epoch(stack: Stack, number: int, job: Job, progress: Progress, row: dict) -> None:
    state = stack.state(number)
    progress.record(row, state, monitor=job.recipe.monitor, name=job.member.name)
    if job.checkpoint is not None:
        save_checkpoint(
            job.checkpoint,
            settings=job.settings,
            model=portable(state),
            optimiser=stack.optimiser_state(number),
            progress=progress,
        )


def _class_weights(data: Data, jobs: Sequence[Job]) -> Tensor:
    label = data.label.cpu().numpy()
    rows = [class_weights(label[job.member.train], job.network.n_classes) for job in jobs]
    return torch.stack(rows).to(data.label.device)


def step_groups(lengths: dict[int, int], batch_size: int) -> Iterator[tuple[list[int], int, int]]:
    """(members, first, size) of every step of an epoch: members whose next batch has the same size step together.

    Parameters
    ----------
    lengths : samples of each member.
    """
    for first in range(0, max(lengths.values()) // batch_size * batch_size, batch_size):
        yield [member for member, n in lengths.items() if n >= first + batch_size], first, batch_size
    tails = defaultdict(list)
    for member, n in lengths.items():
        if n % batch_size:
            tails[n - n % batch_size, n % batch_size].append(member)
    for (first, size), members in tails.items():
        yield members, first, size


def _train_epoch(stack: Stack, data: Data, jobs: Sequence[Job], *, epochs: dict[int, int], weight) -> dict[int, dict]:
    """One pass of the members in `epochs` (member: number of its epoch); as `steps.train_epoch`, a dict each."""
    stack.template.train()
    device, recipe = data.image.device, jobs[0].recipe
    plans = {number: epoch_order(jobs[number].member, epoch) for number, epoch in epochs.items()}
    orders = {number: order.to(device) for number, (order, _) in plans.items()}
    mirrors = {number: mirror.to(device) for number, (_, mirror) in plans.items()}
    lengths = {number: len(order) for number, order in orders.items()}
    total = torch.zeros(len(jobs), device=device)
    last_rate: dict[int, float] = {}
    for members, first, size in step_groups(lengths, recipe.batch_size):
        batch = slice(first, first + size)
        for number in members:
            n = recipe.n_steps(lengths[number])
            step = (epochs[number] - 1) * n + first // recipe.batch_size
            last_rate[number] = recipe.rate(step, steps_per_epoch=n)
        rows = torch.stack([orders[number][batch] for number in members])
        mirror = torch.stack([mirrors[number][batch] for number in members]) if recipe.horizontal_flip else None
        which = torch.tensor(members, device=device)
        rate = torch.tensor([last_rate[number] for number in members], device=device)
        loss = _step(stack, data, recipe, which, rows, mirror, rate=rate, weight=weight)
        total.index_add_(0, which, loss * size)
    total = total.tolist()
    return {
        number: {"train_loss": total[number] / lengths[number], "learning_rate": last_rate[number]} for number in epochs
    }


def _step(stack: Stack, data: Data, recipe, which: Tensor, rows: Tensor, mirror, *, rate: Tensor, weight) -> Tensor:
    """One step of members `which` [m] on `rows` [m, b]: losses [m]."""
    parameters = stack.parameters[which].requires_grad_()
    buffers = {name: tensor[which] for name, tensor in stack.buffers.items()}
    with torch.autocast(rows.device.type, dtype=torch.bfloat16, enabled=recipe.mixed_precision):
        logits = stack.forward(parameters, buffers, inputs(data, rows, mirror))
    label = data.label[rows]
    losses = -F.log_softmax(logits.float(), dim=-1).gather(-1, label.unsqueeze(-1)).squeeze(-1)
    if weight is None:
        loss = losses.mean(1)
    else:  # the mean of F.cross_entropy with weights
        factor = weight[which].gather(1, label)
        loss = (losses * factor).sum(1) / factor.sum(1)
    (gradient,) = torch.autograd.grad(loss.sum(), parameters)  # a member's loss depends on its own row only
    with torch.no_grad():
        if recipe.clip_norm is not None:  # as torch.nn.utils.clip_grad_norm_
            norm = gradient.norm(dim=1, keepdim=True)
            gradient = gradient * (recipe.clip_norm / (norm + 1e-6)).clamp(max=1)
        for name, tensor in buffers.items():
            stack.buffers[name][which] = tensor
        _adam(stack, which, parameters, gradient, rate=rate, weight_decay=recipe.weight_decay)
    return loss.detach()


def _adam(
    stack: Stack, which: Tensor, parameters: Tensor, gradient: Tensor, *, rate: Tensor, weight_decay: float
) -> None:
    """Adam (Kingma & Ba 2015, arXiv:1412.6980) with torch.optim.Adam's L2 term, on members `which` alone."""
    gradient = gradient + weight_decay * parameters if weight_decay else gradient
    n = stack.n_steps[which] + 1
    mean = stack.mean[which].lerp_(gradient, 1 - _BETA1)
    square = stack.square[which].mul_(_BETA2).addcmul_(gradient, gradient, value=1 - _BETA2)
    step_size = (rate / (1 - _BETA1**n)).float().unsqueeze(1)
    root = (1 - _BETA2**n).sqrt().float().unsqueeze(1)
    stack.parameters[which] = parameters - step_size * mean / (square.sqrt() / root + _EPS)
    stack.mean[which], stack.square[which], stack.n_steps[which] = mean, square, n


@torch.no_grad()
def _evaluate(stack: Stack, data: Data, jobs: Sequence[Job], active: Sequence[int]) -> dict[int, dict]:
    """As `steps.evaluate`, a dict for each of `active`; shorter lists are padded and the padding is masked."""
    stack.template.eval()
    device = data.image.device
    which = torch.tensor(active, device=device)
    parameters, buffers = stack.parameters[which], {name: tensor[which] for name, tensor in stack.buffers.items()}
    lists = [torch.from_numpy(jobs[number].member.validation) for number in active]
    rows = nn.utils.rnn.pad_sequence(lists, batch_first=True, padding_value=-1).to(device)
    total, right = torch.zeros(len(active), device=device), torch.zeros(len(active), device=device)
    for batch in rows.split(EVALUATION_BATCH, dim=1):
        counts, batch = batch >= 0, batch.clamp(min=0)
        logits, label = stack.forward(parameters, buffers, inputs(data, batch)), data.label[batch]
        losses = -F.log_softmax(logits, dim=-1).gather(-1, label.unsqueeze(-1)).squeeze(-1)
        total += losses.where(counts, 0).sum(1)
        right += ((logits.argmax(-1) == label) & counts).sum(1)
    sums = zip(total.tolist(), right.tolist(), lists, strict=True)
    means = [{"validation_loss": t / len(own), "validation_accuracy": r / len(own)} for t, r, own in sums]
    return dict(zip(active, means, strict=True))
