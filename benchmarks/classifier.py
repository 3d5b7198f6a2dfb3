"""Training a classifier of 48x48 faces: images a second of each network, precision and size of pictures.

Each row is a process of its own, with as many threads as there are cores. `ours` is `emolib.classifier`'s own step
(augmentation, CutMix, average of the weights included); `plain` is the loop of a class exercise: a Dataset that decodes
a JPEG and applies torchvision's v2 transforms item by item, a DataLoader, float32, the same network and optimiser. The
weights are fresh and the pictures noise: neither changes the time of a step.

    python benchmarks/classifier.py
    python benchmarks/classifier.py --quick
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from emolib import models
from emolib.classifier import Augmentation, ClassifierRecipe
from emolib.classifier.steps import Data, Task, train_epoch
from emolib.training import Member, pick_device

BATCH = 128
NETWORKS = {
    "plain_cnn": ("plain_cnn", {}),
    "vgg_32": ("vgg", {"widths": [32, 64, 128, 256], "blocks": [1, 2, 2, 2]}),
    "resnet_32": ("resnet", {"widths": [32, 64, 128, 256], "blocks": [2, 2, 2, 2], "stem_width": 16}),
    "resnet_48": ("resnet", {"widths": [48, 96, 192, 288], "blocks": [2, 2, 2, 2], "stem_width": 16}),
    "resnet_64": ("resnet", {"widths": [64, 128, 256, 384], "blocks": [2, 2, 2, 2], "stem_width": 32}),
}
# as `engines.processes` starts its workers: little here, where convolutions are large
TUNABLES = "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=17179869184:glibc.malloc.top_pad=268435456"
TUNABLES += ":glibc.malloc.hugetlb=1"


class Exercise(Dataset):
    """Pictures as files, changed one by one."""

    def __init__(self, n: int):
        rng = np.random.default_rng(0)
        self.files = []
        for picture in rng.integers(0, 256, (n, 48, 48), dtype=np.uint8):
            content = io.BytesIO()
            Image.fromarray(picture).save(content, "JPEG")
            self.files.append(content.getvalue())
        self.change = v2.Compose(
            [
                *(v2.ToImage(), v2.RandomHorizontalFlip(), v2.RandomAffine(10, translate=(0.06, 0.06))),
                *(v2.RandomResizedCrop(48, (0.75, 1.0), (0.9, 1.1)), v2.ColorJitter(0.2, 0.2)),
                *(v2.ToDtype(torch.float32, scale=True), v2.RandomErasing(0.5), v2.Normalize([0.5], [0.5])),
            ]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int):
        return self.change(Image.open(io.BytesIO(self.files[index])).convert("L")), index % 7


def plain(network: str, *, n: int, workers: int) -> float:
    """Images a second of the class exercise's loop."""
    name, options = NETWORKS[network]
    device = pick_device("auto")
    model = models.build(name, 7, **options).to(device)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    loader = DataLoader(Exercise(n), batch_size=BATCH, shuffle=True, num_workers=workers, drop_last=True)
    cutmix, began, seen = v2.CutMix(alpha=1.0, num_classes=7), 0.0, -BATCH
    for image, label in loader:
        image, target = (array.to(device) for array in cutmix(image, label))
        loss = F.cross_entropy(model(image), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        loss.item()
        began = began or time.perf_counter()  # the first step warms up
        seen += BATCH
    return seen / (time.perf_counter() - began)


def ours(network: str, *, n: int, precision: str, size_px: int, allocator: str) -> float:
    """Images a second of `steps.train_epoch`; the `allocator` was told what to do before this process began."""
    name, options = NETWORKS[network]
    device = pick_device("auto")
    torch.set_flush_denormal(True)
    net = models.build(name, 7, **options).to(device, memory_format=torch.channels_last)
    changes = {"cutmix_alpha": 1.0, "ema_decay": 0.999, "augmentation": Augmentation()}
    recipe = ClassifierRecipe(
        epochs=3, batch_size=BATCH, mixed_precision=precision, size_schedule=[[0.0, size_px], [0.99, 48]], **changes
    )
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.999), use_buffers=True)
    member = Member("one", np.arange(n), np.arange(0), seed=0)
    task = Task(net, average, recipe.make_optimiser(net), member, recipe)
    image = torch.randint(0, 256, (n, 48, 48), dtype=torch.uint8, device=device)
    label = torch.arange(n, device=device) % 7
    data = Data(image, label, F.one_hot(label, 7).float())
    marks = []
    for epoch in (1, 2):
        train_epoch(task, data, epoch=epoch, on_step=lambda _: marks.append(time.perf_counter()))
    half = len(marks) // 2  # the first half warms up
    return (len(marks) - half) * BATCH / (marks[-1] - marks[half - 1])


def rows(quick: bool) -> list[dict]:
    """What is measured, a process each."""
    best = {"precision": "bf16", "size_px": 48, "allocator": "default"}
    names = ["plain_cnn", "resnet_32"] if quick else list(NETWORKS)
    found = [{"loop": "ours", "network": name, **best} for name in names]
    found += [{"loop": "ours", "network": name, **best, "precision": "none"} for name in names]
    found += [{"loop": "ours", "network": "resnet_32", **best, "allocator": "tuned"}]
    found += [
        {"loop": "ours", "network": name, **best, "size_px": size}
        for name in names
        if name != "plain_cnn"
        for size in (32, 40)
    ]
    return found + [{"loop": "plain", "network": "resnet_32", "workers": workers} for workers in (0, 2)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=3072, help="of a timed pass, twice")
    parser.add_argument("--quick", action="store_true", help="two networks, 512 images")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    n = 512 if arguments.quick else arguments.images
    if arguments.row:
        row = json.loads(arguments.row)
        print(json.dumps({"plain": plain, "ours": ours}[row.pop("loop")](row.pop("network"), n=n, **row)))
        return
    table = []
    for row in rows(arguments.quick):
        environment = {**os.environ, **({"GLIBC_TUNABLES": TUNABLES} if row.get("allocator") == "tuned" else {})}
        command = [sys.executable, __file__, "--row", json.dumps(row), "--images", str(n)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        table.append({**row, "images_per_s": round(json.loads(done.stdout.splitlines()[-1]))})
        print(table[-1], flush=True)
    frame = pd.DataFrame(table)
    print(frame.to_string(index=False))
    plain_rows = frame[frame["loop"] == "plain"]
    same = frame[(frame["network"] == "resnet_32") & (frame["size_px"] == 48) & (frame["allocator"] == "default")]
    for row in same.itertuples():
        ratios = ", ".join(
            f"{row.images_per_s / one.images_per_s:.2f} ({one.workers:.0f} workers)" for one in plain_rows.itertuples()
        )
        print(f"resnet_32, ours in precision {row.precision}: times the plain loop {ratios}")


if __name__ == "__main__":
    main()
