"""One papermill run a variant of a stage, in the order that a study's YAML says.

    snakemake --cores all --config study=params/demo.yaml          (or, with a progress line and a report: emolib run ...)

A job's output is a marker, not its run folder: Snakemake deletes the outputs of a job before it runs again, and an older
complete run must survive a failure. The executed notebook is a log, so a failed job keeps it with its traceback.
Parameters are given as text, so that only the variants whose parameters changed run again.
"""

import os

import yaml

from emolib import study as studies, workflow as flow
from emolib.roots import project_root, reports_root

STUDY = studies.load(config.get("study", "params/demo.yaml"))
os.environ["EMOLIB_ROOT"] = str(project_root())  # notebooks and jobs on other machines find the same places


rule stages:
    input:
        [flow.marker(job) for job in STUDY.jobs],


rule report:
    input:
        rules.stages.input,
    output:
        # not the index itself: Snakemake would delete the older report first
        touch(flow.marker_folder(STUDY.name) / "report"),
    params:
        study=STUDY.name,
    shell:
        "python -m emolib.cli report {params.study:q}"


default_target = "report"

for job in STUDY.jobs:

    rule:
        name:
            job.name
        input:
            notebook=job.notebook,
            library=flow.library(job),
            upstream=flow.upstream_markers(STUDY, job),
        output:
            touch(flow.marker(job)),
        log:
            notebook=job.executed,
            text=flow.text_log(job),
        threads: (workflow.cores or 1) if job.threads == "all" else job.threads
        params:
            yaml=yaml.safe_dump(job.params, sort_keys=True),
        shell:
            "OMP_NUM_THREADS={threads} python -m papermill {input.notebook:q} {log.notebook:q} -k python3"
            " --log-output --no-progress-bar -y {params.yaml:q} > {log.text:q} 2>&1"
            " || {{ tail -n 3 {log.text:q} >&2; exit 1; }}"
