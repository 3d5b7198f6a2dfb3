"""Studies through SLURM: a cluster of one node from Debian's packages, in a temporary folder, on free ports."""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mini_study import make_project

from emolib import runs, study, workflow

REPOSITORY = Path(__file__).parents[1]
STUDY = os.environ.get("EMOLIB_TEST_STUDY", "sandbox")  # "demo" for the whole of it, which takes a quarter of an hour
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
WHERE = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
ABSENT = [program for program in PROGRAMS if not shutil.which(program, path=WHERE)]

pytest.importorskip("snakemake_executor_plugin_slurm", reason="the extra 'slurm' is not installed")
pytestmark = pytest.mark.skipif(
    bool(ABSENT), reason=f"SLURM is not installed (Debian: slurm-wlm): no {', '.join(ABSENT)}"
)

# auth/none and cred/none: no munged is needed. config_overrides: the memory is what is written here, not measured.
CONFIGURATION = """
ClusterName=mini
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MinJobAge=3600
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=64000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(n):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Environment in which sbatch and the others reach the cluster."""
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("state", "spool", "bin"):
        (folder / name).mkdir()
    host, cpus = socket.gethostname().partition(".")[0], len(os.sched_getaffinity(0))
    text = CONFIGURATION.format(host=host, ports=free_ports(2), user=getpass.getuser(), folder=folder, cpus=cpus)
    (folder / "slurm.conf").write_text(text)
    # Snakemake's plugin hides SLURM_CONF from the srun within a job, which would look in /etc/slurm.
    srun = folder / "bin" / "srun"
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun", path=WHERE)} "$@"\n')
    srun.chmod(0o755)
    environment = {**os.environ, "SLURM_CONF": f"{folder}/slurm.conf", "PATH": f"{folder}/bin{os.pathsep}{WHERE}"}
    with contextlib.ExitStack() as daemons:
        for name in ("slurmctld", "slurmd"):
            call = [shutil.which(name, path=WHERE), "-D", "-f", f"{folder}/slurm.conf"]
            log = daemons.enter_context((folder / f"{name}.out").open("w"))
            daemon = subprocess.Popen(call, stdout=log, stderr=log, env=environment)
            daemons.callback(daemon.wait)
            daemons.callback(daemon.terminate)
        give_up = time.monotonic() + 60
        while ask(environment, "sinfo", "--noheader", "--format=%T") != "idle":
            logs = "\n".join(log.read_text() for log in folder.glob("*.log"))
            assert time.monotonic() < give_up, f"the node of SLURM did not come up:\n{logs}"
        yield environment


def ask(environment, *call):
    done = subprocess.run(call, env=environment, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The mini study beside a real one of the repository, with the repository's profiles."""
    root = make_project(tmp_path / "project", monkeypatch)
    for notebook in (REPOSITORY / "notebooks").glob("*.ipynb"):
        shutil.copy(notebook, root / "notebooks")
    shutil.copy(REPOSITORY / "params" / f"{STUDY}.yaml", root / "params")
    profile = root / "profiles" / "slurm" / "config.yaml"
    asked_at_once = profile.read_text().replace("status-checks: 5", "status-checks: 1")
    profile.write_text(asked_at_once)
    return root


def emolib(project, environment, *files):
    call = [sys.executable, "-m", "emolib.cli", "run", *(f"{project}/params/{name}.yaml" for name in files)]
    call += ["--profile", "slurm", "--cores", str(len(os.sched_getaffinity(0)))]
    environment = {**environment, "EMOLIB_ROOT": str(project)}
    return subprocess.Popen(call, env=environment, cwd=project, text=True, stderr=subprocess.PIPE)


def test_two_studies_run_through_slurm(cluster, project):
    running = emolib(project, cluster, "mini", STUDY)
    _, said = running.communicate()
    assert running.returncode == 1 and "mini: scale/bad failed: AssertionError: factor must be positive" in said, said
    _, jobs = study.load_all([project / "params" / f"{name}.yaml" for name in ("mini", STUDY)])
    assert {job.name for job in jobs.values() if not job.is_complete} == {"scale/bad"}, said
    for job in jobs.values():
        assert job.name == "scale/bad" or runs.load(job.study, job.stage, job.variant).info["outputs"], job.name
    states = ask(cluster, "squeue", "--noheader", "--states=all", "--format=%T").split()
    assert sorted(states) == ["COMPLETED"] * (len(jobs) - 1) + ["FAILED"], "every variant was a job of SLURM"
    n_jobs = sum(job.study == STUDY for job in jobs.values())
    index = (project / "reports" / STUDY / "index.html").read_text()
    assert f"{n_jobs} of {n_jobs} runs complete" in index and "What failed" not in index


def test_stopping_a_study_cancels_its_jobs(cluster, project):
    [first, *_] = study.load(project / "params" / "mini.yaml").jobs
    running = emolib(project, cluster, "mini")
    log = workflow.study_folder("mini") / ".workflow.log"
    while not (log.is_file() and "has been submitted" in log.read_text()):
        assert running.poll() is None
    running.send_signal(signal.SIGTERM)
    running.communicate()
    assert running.returncode != 0
    while ask(cluster, "squeue", "--noheader"):  # completing takes SLURM a moment
        pass
    assert not workflow.marker(first).exists()
