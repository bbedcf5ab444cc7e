"""The report in a real browser: everything draws, nothing complains, nothing is fetched."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fake_campaign import write_fake_campaign

from mace_core.config import load_config
from mace_core.report import write_report

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium installed")


def look(page: Path, budget: int) -> tuple[str, list[str], set[str]]:
    """The page as it stands after its scripts ran, its console, and the addresses it asked for."""
    log = page.with_suffix(".net.json")
    line = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader",
        "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--disable-extensions",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={page.with_suffix('.profile')}", f"--log-net-log={log}",
        "--enable-logging=stderr", "--window-size=1400,4000", f"--virtual-time-budget={budget}",
        "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(line, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    params = [event.get("params") for event in json.loads(log.read_text())["events"]]
    # What the browser asks for itself has no origin as its initiator.
    asked = {
        p["url"]
        for p in params
        if isinstance(p, dict)
        and "url" in p
        and p.get("initiator", "not an origin") != "not an origin"
    }
    return done.stdout, re.findall(r'CONSOLE:\d+\] "(.*?)", source', done.stderr), asked


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    config = load_config(write_fake_campaign(folder, generations=2))
    return look(write_report(config, None, folder / "report.html"), 30000)


def test_every_plot_is_drawn(opened):
    dom, _, _ = opened
    plots = re.findall(r'<div class="plot[^"]*" id="(plot-\w+)"', dom)
    assert len(plots) == 7
    assert dom.count("js-plotly-plot") >= 7
    assert dom.count('class="main-svg"') >= 7


def test_viewer_is_loaded(opened):
    dom, _, _ = opened
    assert '<div class="viewer loaded">' in dom
    assert re.search(r'id="viewer-message"[^>]*hidden', dom), "no warning is shown"


def test_console_is_quiet(opened):
    _, console, _ = opened
    unwanted = [
        line
        for line in console
        if "GL Driver Message" not in line and "willReadFrequently" not in line
    ]
    assert not unwanted


def test_no_request_leaves_the_file(opened, tmp_path):
    _, _, asked = opened
    assert not [url for url in asked if url.startswith(("http", "ws"))]
    control = tmp_path / "control.html"
    control.write_text("<!doctype html><img src='http://outside.invalid/x.png'>")
    assert "http://outside.invalid/x.png" in look(control, 1000)[2], "a request would be seen"
