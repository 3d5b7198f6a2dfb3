"""The CPU's engine: members take turns of an epoch in worker processes, so that five keep two cores busy to the end.

Stacking is no gain on a CPU (measured: half the speed of one model after the other), threads are poor on layers this
small, and glibc's allocator hands tens of megabytes back to the system at every step. So: a process a core, a thread
each, with the allocator told to keep its memory.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from emolib.engines.arrays import ArrayFile, array_file
from emolib.engines.progress import Progress
from emolib.engines.steps import Data, Job, fit

# Read by glibc when a process starts, so set while the workers are spawned. Large pages: 6 % of a step.
_ALLOCATOR = ":".join(
    f"glibc.malloc.{name}={value}"
    for name, value in {"mmap_max": 0, "trim_threshold": 1 << 34, "top_pad": 1 << 28, "hugetlb": 1}.items()
)


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    job: int = -1


def run(
    arrays: Sequence[np.ndarray | None],
    jobs: Sequence[Job],
    *,
    workers: int,
    threads: int,
    on_epoch: Callable[[int, Progress], None],
) -> list[Progress]:
    """Train `jobs` on `arrays` (image, guide or None, label); progress in the order of the jobs.

    Parameters
    ----------
    workers : processes to spawn, at most one a job; 0 trains here, one job after the other.
    threads : of each job. With the same `threads` a job gives the same bits in any process.
    on_epoch : called in this process with the number of the job and its progress, after every epoch.

    Raises
    ------
    RuntimeError
        A worker died or failed with an error (whose traceback is in the message); the message names the member.
    """
    if not workers:
        with _numeric_mode(threads):
            data = Data.of(*arrays)
            return [fit(data, job, on_epoch=partial(on_epoch, number)) for number, job in enumerate(jobs)]
    with TemporaryDirectory(prefix="emolab-") as folder:
        files = [
            None if array is None else array_file(array, Path(folder) / f"array{number}")
            for number, array in enumerate(arrays)
        ]
        jobs = [  # a member goes from process to process by its checkpoint, which resumes exactly
            job if job.checkpoint is not None else replace(job, checkpoint=Path(folder) / f"member{number}.pt")
            for number, job in enumerate(jobs)
        ]
        return _run_spawned(files, jobs, n_workers=min(workers, len(jobs)), threads=threads, on_epoch=on_epoch)


def _run_spawned(files, jobs, *, n_workers: int, threads: int, on_epoch) -> list[Progress]:
    waiting = deque(range(len(jobs)))
    done: dict[int, Progress] = {}
    crew: list[_Worker] = []
    try:
        tunables = ":".join(filter(None, [os.environ.get("GLIBC_TUNABLES"), _ALLOCATOR]))
        with _environment(GLIBC_TUNABLES=tunables, OMP_NUM_THREADS=str(threads)):
            for _ in range(n_workers):
                crew.append(_spawn(files, threads))
        for worker in crew:
            _deal(worker, waiting, jobs)
        while len(done) < len(jobs):
            for pipe in wait([worker.pipe for worker in crew if worker.job >= 0]):
                worker = next(worker for worker in crew if worker.pipe is pipe)
                kind, content = _receive(worker, jobs)
                if kind == "error":
                    raise RuntimeError(f"member {jobs[worker.job].member.name!r} failed in its worker:\n{content}")
                progress = _unpacked(content)
                if kind == "epoch":
                    on_epoch(worker.job, progress)
                    continue
                if kind == "done":
                    done[worker.job] = progress
                else:
                    waiting.append(worker.job)
                _deal(worker, waiting, jobs)
    finally:  # also on Ctrl-C, which only this process heeds
        for worker in crew:
            worker.process.terminate()
            worker.pipe.close()
        for worker in crew:
            worker.process.join()
    return [done[number] for number in range(len(jobs))]


def _spawn(files: Sequence[ArrayFile | None], threads: int) -> _Worker:
    # spawn, for a fork of a process with torch's threads (a notebook's kernel) may hang. The target is imported by
    # name; a notebook's __main__ is no file and is left alone, a script's is imported and so needs its `if __name__ ==
    # "__main__"`.
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(there, files, threads), daemon=True, name="emolab-trainer")
    process.start()
    there.close()  # so that the end of the process is the end of the pipe
    return _Worker(process, here)


def _deal(worker: _Worker, waiting: deque[int], jobs: Sequence[Job]) -> None:
    worker.job = waiting.popleft() if waiting else -1
    if worker.job >= 0:
        with suppress(BrokenPipeError):  # it died; `_receive` says so with the member's name
            worker.pipe.send(_packed_job(jobs[worker.job]))


def _receive(worker: _Worker, jobs: Sequence[Job]) -> tuple[str, object]:
    try:
        return worker.pipe.recv()
    except (EOFError, OSError) as error:
        worker.process.join()
        code = worker.process.exitcode
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        hint = "; SIGKILL is mostly the system running out of memory: try fewer workers" if code == -9 else ""
        raise RuntimeError(
            f"the worker that trained member {jobs[worker.job].member.name!r} {how}{hint}. "
            "With a checkpoint_dir, the same call resumes after the last whole epoch"
        ) from error


def _work(pipe: Connection, files: Sequence[ArrayFile | None], threads: int) -> None:
    """A worker: trains what arrives until the parent ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with _numeric_mode(threads):
        data = Data.of(*(None if file is None else file.open() for file in files))
        while True:
            job = _unpacked_job(pipe.recv())
            try:
                progress = fit(
                    data,
                    job,
                    on_epoch=lambda progress: pipe.send(("epoch", _packed(progress, weights=False))),
                    n_epochs=1,
                )
            except Exception:  # handed to the parent, which raises it with the member's name
                pipe.send(("error", traceback.format_exc()))
            else:
                finished = progress.finished(job.recipe)
                pipe.send(("done" if finished else "turn", _packed(progress, weights=finished)))


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)  # the parent was killed: nobody is left to hear of an error


# Tensors sent through a pipe become shared memory with one open file each; arrays are copied, which is what is wanted
# here.
def _packed_job(job: Job) -> Job:
    initial = job.member.initial
    arrays = initial and {name: tensor.detach().cpu().numpy() for name, tensor in initial.items()}
    return replace(job, member=replace(job.member, initial=arrays))


def _unpacked_job(job: Job) -> Job:
    initial = job.member.initial
    tensors = initial and {name: torch.from_numpy(array) for name, array in initial.items()}
    return replace(job, member=replace(job.member, initial=tensors))


def _packed(progress: Progress, *, weights: bool = True) -> Progress:
    return replace(progress, best_state={name: t.numpy() for name, t in progress.best_state.items()} if weights else {})


def _unpacked(progress: Progress) -> Progress:
    return replace(progress, best_state={name: torch.from_numpy(a) for name, a in progress.best_state.items()})


@contextmanager
def _numeric_mode(threads: int) -> Iterator[None]:
    """`threads` threads, and denormal numbers (late in a training, a fifth of its time) taken as zero; both
    restored."""
    before, flushed = torch.get_num_threads(), torch.tensor(1e-40).mul(1).item() == 0
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(flushed)


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
