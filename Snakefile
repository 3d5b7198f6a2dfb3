"""One rule a stage of the studies' YAML, one job a variant: a papermill run of the stage's notebook.

    snakemake --cores all --config study=params/demo.yaml        (or, with a progress line and a report: emolib run ...)

Several studies are separated by ":"; what they share, such as a base, is made once. A job's output is a marker that
holds its run's fingerprint, not its run folder: Snakemake deletes the outputs of a job before it runs again, and an
older complete run must survive a failure. The executed notebook is a log, so a failed job keeps it with its traceback.
Parameters are given as text, so that only the variants whose parameters changed run again.
"""

import os
import re

import yaml

from emolib import study as studies, workflow as flow
from emolib.roots import data_root, project_root

STUDIES, JOBS = studies.load_all(config.get("study", "params/demo.yaml").split(":"))
RUNS = f"{data_root()}/runs/{{study}}"
os.environ["EMOLIB_ROOT"] = str(project_root())  # notebooks and jobs on other machines find the same places


def of_job(stage, answer):
    """A function of the wildcards, as Snakemake calls it: `answer` for the job that they name."""
    return lambda wildcards: answer(JOBS[wildcards.study, f"{stage}/{wildcards.variant}"])


rule stages:
    input:
        [flow.marker(job) for job in JOBS.values()],
    localrule: True


rule reports:
    input:
        rules.stages.input,
    output:
        # not the indices themselves: Snakemake would delete the older reports first
        touch([flow.marker_folder(study.name) / "report" for study in STUDIES]),
    localrule: True
    params:
        studies=[study.path for study in STUDIES],
    shell:
        "for study in {params.studies:q}; do python -m emolib.cli report $study || exit 1; done"


default_target = "reports"

for stage in dict.fromkeys(job.stage for job in JOBS.values()):

    rule:
        name:
            stage
        input:
            notebook=of_job(stage, lambda job: job.notebook),
            library=of_job(stage, flow.library),
            upstream=of_job(stage, lambda job: [flow.marker(other) for other in flow.upstream(job, JOBS)]),
            beside=of_job(stage, flow.beside),
        output:
            f"{RUNS}/.done/{stage}/{{variant}}",
        log:
            notebook=f"{RUNS}/{stage}/{{variant}}.ipynb",
            text=f"{RUNS}/.logs/{stage}/{{variant}}.log",
        wildcard_constraints:
            study="[^/]+",
            variant="[^/]+",
        threads: of_job(stage, lambda job: (workflow.cores or 1) if job.threads == "all" else job.threads)
        params:
            yaml=of_job(stage, lambda job: yaml.safe_dump(job.params, sort_keys=True)),
            run=of_job(stage, lambda job: job.folder / "run.json"),
        shell:
            "( OMP_NUM_THREADS={threads} python -m papermill {input.notebook:q} {log.notebook:q} -k python3"
            " --log-output --no-progress-bar -y {params.yaml:q}"
            # the line of the fingerprint; fails where the notebook finished no run
            " && grep -m 1 '^  \"fingerprint\"' {params.run:q} > {output:q} ) > {log.text:q} 2>&1"
            " || {{ tail -n 3 {log.text:q} >&2; exit 1; }}"
