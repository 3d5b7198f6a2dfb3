import json
import os
import socket
import subprocess
import sys

import nbformat
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from mini_study import STUDY, make_project, write_notebook, write_study

from emolib import pages, report, runs, study, tables

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
def project(tmp_path, monkeypatch):
    return make_project(tmp_path / "project", monkeypatch)


def finish(job, *, params=None, metrics=None, summary=None, published=None, caption=None):
    """Make a job's run without its notebook."""
    run = runs.begin(stage=job.stage, variant=job.variant, study=job.study, params=params or job.params)
    if summary is not None:
        run.save_table("summary", summary)
    if published is not None:
        run.save_table("summary_published", published)
    if caption is not None:
        run.save_figure("figure", Figure(figsize=(1, 1)), caption)
    run.finish(metrics=metrics)


def executed(job, *cells, error=None, status="completed"):
    """Put an executed notebook in a job's place: code cells with their outputs, the last one with an error."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(f"# {job.name}\n<b>{EVIL}</b>"), *cells])
    if error:
        traceback = [f"\x1b[31m{error}\x1b[0m", "line 1"]
        output = nbformat.v4.new_output("error", ename="ValueError", evalue=error, traceback=traceback)
        notebook.cells.append(nbformat.v4.new_code_cell("fail()", outputs=[output]))
    for cell in notebook.cells:
        cell.metadata["papermill"] = {"status": status}
    job.executed.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, job.executed)


def code(source, *outputs):
    return nbformat.v4.new_code_cell(source, outputs=list(outputs))


def stream(text):
    return nbformat.v4.new_output("stream", name="stderr", text=text)


def html_output(html):
    return nbformat.v4.new_output("display_data", {"text/html": html, "text/plain": "as text"})


# ---- the check that nothing is loaded


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ('<script src="https://cdn.example/require.js"></script>', ["https://cdn.example/require.js"]),
        ("<SCRIPT SRC=//cdn.example/x.js></SCRIPT>", ["//cdn.example/x.js"]),
        ('<link rel="stylesheet" href="http://a.example/x.css">', ["http://a.example/x.css"]),
        ('<img src=" https://a.example/x.png"/>', ["https://a.example/x.png"]),
        ('<img srcset="data:,x 1x, https://a.example/2.png 2x">', ["https://a.example/2.png"]),
        ("<iframe srcdoc=\"<img src='https://a.example/i.png'>\"></iframe>", ["https://a.example/i.png"]),
        ('<svg><image xlink:href="https://a.example/i.svg"/></svg>', ["https://a.example/i.svg"]),
        ('<video poster="https://a.example/p.png"><source src="https://a.example/v.mp4"></video>',
         ["https://a.example/p.png", "https://a.example/v.mp4"]),
        ('<style>@import "https://a.example/a.css"; p {}</style>', ["https://a.example/a.css"]),
        ("<style>@import url('https://a.example/a.css');</style>", ["https://a.example/a.css"]),
        ('<p style="background: url( //a.example/b.png )">', ["//a.example/b.png"]),
        ('<meta http-equiv="refresh" content="0; url=https://a.example/">', ["https://a.example/"]),
        ('<a href="https://a.example/">a link</a> https://a.example as text', []),
        ('<img src="data:image/png;base64,AAAA"><link href="data:,"><style>a { b: url(data:x) }</style>', []),
        ('<svg xmlns="http://www.w3.org/2000/svg"><use href="#a"/></svg>', []),
        ("<pre>&lt;script src='https://a.example/x.js'&gt;</pre>", []),
    ],
)  # fmt: skip
def test_external_requests(html, expected):
    assert pages.external_requests(html) == expected


def test_a_stock_nbconvert_page_would_be_refused(project):
    from nbconvert import HTMLExporter

    html, _ = HTMLExporter().from_filename(str(project / "notebooks" / "a.ipynb"))
    assert pages.external_requests(html)
    with pytest.raises(ValueError, match="may not load anything"):
        pages.check_offline(html, where="somewhere")


# ---- notebook pages


def test_a_page_shows_progress_bars_as_a_terminal_would(project):
    job = study.load(project / "params" / "mini.yaml").jobs[0]
    executed(job, code("1", stream("  0%\r 50%\r100%\nnext 1\rnext 2\r\r\n")))
    page = pages.notebook_page(job.executed, title="t", subtitle="s", index="../index.html")
    assert "100%\nnext 2" in page and "50%" not in page and "next 1" not in page


def test_a_page_has_no_script_and_escapes_its_title(project):
    job = study.load(project / "params" / "mini.yaml").jobs[0]
    script = nbformat.v4.new_output("display_data", {"application/javascript": "alert(1)", "text/plain": "plain"})
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "x"}, "text/plain": "a bar"}
    executed(job, code("1", script), code("2", nbformat.v4.new_output("display_data", widget)), code("x = 1"))
    page = pages.notebook_page(job.executed, title=EVIL, subtitle=EVIL, index="../index.html")
    head = page.split("<main>")[0]
    assert EVIL not in head and "&lt;img src=x" in head
    assert "<script" not in page and "a bar" in page
    assert "default-src 'none'" in page, "whatever an output holds, the browser runs and loads nothing"


def test_a_picture_from_elsewhere_fails_the_build_and_names_the_notebook(project):
    loaded = study.load(project / "params" / "mini.yaml")
    finish(loaded.jobs[0])
    executed(loaded.jobs[0])
    index = report.build(loaded)
    before = index.read_text()
    executed(loaded.jobs[0], code("1", html_output('<img src="https://a.example/x.png">')))
    with pytest.raises(ValueError, match=r"main\.ipynb.*https://a\.example/x\.png"):
        report.build(loaded)
    assert index.read_text() == before
    assert [path.name for path in index.parents[1].iterdir()] == ["mini"], "nothing temporary is left"


# ---- the index


def test_the_index_shows_every_state(project):
    loaded = study.load(project / "params" / "mini.yaml")
    draw, one, bad, double, last = loaded.jobs
    summary = pd.DataFrame({"variant": [EVIL], "value": [0.5], "low": [0.25], "high": [0.75], "p_holm": [np.nan]})
    finish(draw, metrics={EVIL: 1.0}, caption=f"Caption {EVIL}")
    executed(draw)
    finish(one, params={"protocol": "nested", EVIL: EVIL})
    executed(one, error=f"went wrong {EVIL}")
    executed(bad, status="pending")
    finish(last, params={"protocol": "reference"}, summary=summary)
    index = report.build(loaded)
    html = index.read_text()
    assert pages.external_requests(html) == [] and "<script" not in html and EVIL not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html and "Does it run?" in html
    states = [part.split('"')[0] for part in html.split('<td class="status ')[1:]]
    assert states == ["done", "failed", "interrupted", "missing", "done"]
    assert "2 of 5 runs complete" in html and "2 failed" in html
    assert "went wrong" in html and "\x1b" not in html and "An older complete run is kept" in html
    assert "0.500" in html and "[0.250, 0.750]" in html and '<td class="text">reference</td>' in html
    assert 'src="data:image/png;base64,' in html
    linked = [part.split('"')[0] for part in html.split('href="')[1:] if not part.startswith("data:")]
    assert set(linked) == {"draw/main.html", "scale/one.html", "scale/bad.html"}
    assert all((index.parent / address).is_file() for address in linked)


def test_what_waits_for_a_failed_variant_or_was_made_before_it_failed_says_so(project):
    content = {**STUDY, "stages": {**STUDY["stages"], "sum_up": {"notebook": "c", "needs": ["scale"]}}}
    loaded = study.load(write_study(project, content))
    draw, one, bad, double, last = loaded.jobs
    for job in (draw, one, double):
        finish(job)
        executed(job)
    executed(bad, error="went wrong")
    html = report.build(loaded).read_text()
    assert html.count("Not run, because it needs scale/bad (failed).") == 2, "below what failed, and in the table"
    finish(last, summary=pd.DataFrame({"variant": ["a"]}))
    executed(last)
    html = report.build(loaded).read_text()
    assert html.count("Not up to date: it was made from older runs of scale/bad (failed).") == 2


def test_a_notebook_cut_by_a_kill_and_left_over_builds_harm_no_report(project):
    loaded = study.load(project / "params" / "mini.yaml")
    reports = report.build(loaded).parents[1]
    executed(loaded.jobs[0])
    loaded.jobs[0].executed.write_text(loaded.jobs[0].executed.read_text()[:100])
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (reports / f".mini.{socket.gethostname()}.{dead.pid}.tmp" / "draw").mkdir(parents=True)
    html = report.build(loaded).read_text()
    assert '<td class="status interrupted">' in html and "draw/main.html" not in html
    assert [path.name for path in reports.iterdir()] == ["mini"]


def test_a_damaged_run_is_shown_as_such(project):
    loaded = study.load(project / "params" / "mini.yaml")
    finish(loaded.jobs[0], summary=pd.DataFrame({"variant": ["a"]}))
    (loaded.jobs[0].folder / "summary.parquet").write_bytes(b"")
    html = report.build(loaded).read_text()
    assert '<td class="status damaged">' in html and "has 0 bytes" in html


def test_a_notebook_of_an_older_run_is_not_shown_as_this_ones(project):
    job = study.load(project / "params" / "mini.yaml").jobs[0]
    executed(job, error="long ago")
    finish(job)
    os.utime(job.executed, (1, 1))
    html = report.build(study.load(project / "params" / "mini.yaml")).read_text()
    assert "Run by hand" in html and "long ago" not in html and "draw/main.html" not in html


def test_runs_of_a_stage_that_sum_themselves_up_in_a_row_stand_in_one_table(project):
    made = study.load(write_study(project, STUDY))
    scaled = [job for job in made.jobs if job.stage == "scale"]
    row = {"accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.6, "protocol": "nested"}
    assert len(scaled) > 1
    for place, job in enumerate(made.jobs):
        finish(job, summary=pd.DataFrame([row | {"accuracy": 0.5 + place / 100}]) if job in scaled else None)
    html = report.build(made).read_text("utf-8")
    head = html[: html.index("<h2>Runs</h2>")]
    assert head.count("<h3>Scale</h3>") == 1 and head.count("<table>") == 1
    assert all(f'<td class="name">{job.variant}' in head for job in scaled)
    assert head.count("[0.400, 0.600]") == len(scaled)


@pytest.mark.parametrize("differs", [False, True])
def test_what_is_shown_beside_all_runs_of_a_stage_is_shown_once(project, differs):
    made = study.load(write_study(project, STUDY))
    scaled = [job for job in made.jobs if job.stage == "scale"]
    for place, job in enumerate(scaled):
        theirs = pd.DataFrame({"variant": ["theirs"], "protocol": "reference", "value": [0.6 + differs * place / 10]})
        finish(job, summary=pd.DataFrame([{"accuracy": 0.5, "protocol": "nested"}]), published=theirs)
    html = report.build(made).read_text("utf-8")
    shown = html[: html.index("<h2>Runs</h2>")].count("<h3>Published</h3>")
    assert shown == (len(scaled) if differs else 1)


@pytest.mark.parametrize("verdict", [None, "No gain shown."])
def test_a_verdict_comes_before_the_rows_of_other_stages(project, verdict):
    made = study.load(write_study(project, STUDY))
    row = pd.DataFrame([{"accuracy": 0.5, "protocol": "nested"}])
    for job in made.jobs:
        last = job.stage == "sum_up"
        finish(job, summary=row.assign(epochs=3) if last else row, metrics={"verdict": verdict} if last else None)
    html = report.build(made).read_text("utf-8")
    assert (html.index("<h3>Scale</h3>") > html.index('<th class="number">Epochs</th>')) == bool(verdict)


def test_rows_without_a_protocol_or_of_different_columns_stay_with_their_runs(project):
    made = study.load(write_study(project, STUDY))
    for place, job in enumerate(made.jobs):
        finish(job, summary=pd.DataFrame([{"epochs": 3, f"own_{place}": 1, "protocol": "nested"}]))
    head = report.build(made).read_text("utf-8")
    assert "<h3>Scale</h3>" not in head and head[: head.index("<h2>Runs</h2>")].count("<table>") == len(made.jobs)


def test_a_number_with_an_interval_needs_a_protocol():
    table = pd.DataFrame({"variant": ["a"], "uar": [0.5], "uar_low": [0.4], "uar_high": [0.6]})
    with pytest.raises(ValueError, match="protocol"):
        tables.present(table, protocol=None, where="x")
    assert [column["title"] for column in tables.present(table, protocol="nested", where="x")["columns"]] == [
        "Variant", "UAR", "Protocol"
    ]  # fmt: skip


def test_bars_share_the_scale_of_their_column_and_differences_show_zero():
    table = pd.DataFrame(
        {"variant": ["a", "b"], "protocol": "nested", "difference": [0.1, np.nan], "difference_low": [0.05, np.nan],
         "difference_high": [0.2, np.nan], "p_value": [0.0001, 0.04], "frames_kept": [12345, 7]}
    )  # fmt: skip
    shown = tables.present(table, protocol=None, where="x")
    assert [column["kind"] for column in shown["columns"]] == ["name", "text", "interval", "number", "number"]
    first, second = (row[2] for row in shown["rows"])
    assert first["bar"] == {"zero": 2.0, "low": 26.0, "value": 50.0, "high": 98.0} and first["text"] == "+0.100"
    assert second["bar"] is None and second["text"] == "–"
    assert [row[3]["text"] for row in shown["rows"]] == ["<0.001", "0.040"] and shown["rows"][0][4]["text"] == "12,345"
    assert shown["has_zero"]


@pytest.mark.parametrize(
    ("value", "name", "expected"),
    [(None, "", "–"), (float("nan"), "x", "–"), (np.bool_(True), "", "yes"), (np.int64(1200), "", "1,200"),
     (0.5, "", "0.500"), (-0.5, "", "−0.500"), (1234.5, "", "1,234"), (-0.01, "difference", "−0.010"),
     (0.0004, "p_value", "<0.001"), ("text", "", "text")],
)  # fmt: skip
def test_format_value(value, name, expected):
    assert tables.format_value(value, name) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (83, "1 min 23 s"), (3720, "1 h 02 min")]
)
def test_format_duration(seconds, expected):
    assert tables.format_duration(seconds) == expected


def test_figures_that_are_no_pictures_are_refused(project):
    job = study.load(project / "params" / "mini.yaml").jobs[0]
    run = runs.begin(stage="draw", variant="main", study="mini", params={})
    (run.folder / "x.txt").write_text("x")
    (run.folder / "figures.json").write_text(json.dumps([{"name": "x", "file": "x.txt", "caption": ""}]))
    run.finish()
    with pytest.raises(ValueError, match=".png, .svg"):
        report.build(study.load(write_study(project, {**STUDY, "stages": {"draw": {"notebook": "a"}}})))
    assert job.is_complete


def test_a_notebook_that_has_not_run_has_no_page(project):
    write_notebook(project / "notebooks" / "a.ipynb", ["# A", 'study = ""\nvariant = ""', "pass"])
    html = report.build(study.load(write_study(project, {**STUDY, "stages": {"draw": {"notebook": "a"}}}))).read_text()
    assert "0 of 1 runs complete" in html and "The notebook has not run." in html
