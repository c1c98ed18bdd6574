"""The page in a real browser, before a real service."""

import operator
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.process import free_port
from chestxray.findings import RESEARCH_USE_ONLY
from tests.repository import TOP
from tests.serve.files import PNG
from tests.serve.waiting import get, wait_until, wait_until_ready

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
Page, expect = playwright.Page, playwright.expect

pytestmark = pytest.mark.slow
QUIET = ("no-first-run", "disable-gpu", "disable-quic", "disable-background-networking", "disable-component-update")
MILLISECONDS = 60_000


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.fixture(scope="module")
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a module of Python with settings in the environment; what still runs at the end is killed."""
    with ExitStack() as stack:

        def run(*arguments: str, **environment: str) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-m", *arguments]
            process = subprocess.Popen(
                command,
                cwd=TOP,
                env={**os.environ, **environment},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        yield run


@pytest.fixture(scope="module")
def page(start: Callable[..., subprocess.Popen[bytes]]) -> Iterator[Page]:
    """A page of the browser."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    with playwright.sync_playwright() as driver:
        switches = ["--no-sandbox", *(f"--{switch}" for switch in QUIET)]
        browser = driver.chromium.launch(executable_path=chromium, args=switches)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(MILLISECONDS)
        expect.set_options(timeout=MILLISECONDS)
        yield page
        browser.close()


class Site:
    """A service, and a page before it."""

    def __init__(self, start: Callable[..., subprocess.Popen[bytes]], bundle: Path) -> None:
        port = free_port()
        page_port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.page = f"http://127.0.0.1:{page_port}"
        self._run = lambda: start("serve", MODEL_URI=str(bundle), PORT=str(port), INFERENCE_THREADS="1")
        self.service = self._run()
        address = ("--server.address", "127.0.0.1", "--server.port", str(page_port))
        start("streamlit", "run", str(Path("serve", "ui.py")), *address, SERVICE_URL=self.url)
        wait_until_ready(self.url, 200)
        wait_until(lambda: listens(page_port), "the page does not listen")

    def predictions(self) -> float:
        """How many times the service was asked for a prediction."""
        text = get(f"{self.url}/metrics").text
        return sum(float(n) for n in re.findall(r'^requests_total\{route="/predict",.*\} (\S+)$', text, re.MULTILINE))

    def stop(self) -> None:
        self.service.kill()
        self.service.wait()

    def restart(self) -> None:
        self.service = self._run()
        wait_until_ready(self.url, 200)


@pytest.fixture(scope="module")
def site(start: Callable[..., subprocess.Popen[bytes]], bundle: Path, page: Page) -> Site:
    site = Site(start, bundle)
    page.goto(site.page)
    return site


def upload(page: Page, data: bytes) -> None:
    page.locator("input[type=file]").set_input_files({"name": "x.png", "mimeType": "image/png", "buffer": data})


def test_a_reader_goes_through_all_of_it(site: Site, page: Page) -> None:
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    expect(page.get_by_text(RESEARCH_USE_ONLY).first).to_be_in_viewport()
    expect(page.get_by_text("Longer side of the radiograph")).to_have_count(0)  # no docstring of the page's source

    upload(page, PNG)
    expect(page.locator("table.findings tbody tr")).to_have_count(14)
    expect(page.get_by_text(re.compile(r"Detected: \d+ of 14 findings"))).to_be_in_viewport()
    asked = site.predictions()
    assert asked == 1
    picture = page.get_by_role("img", name="Grad-CAM heat")
    expect(page.get_by_text("are unproven, that is, not shown to point at it")).to_be_in_viewport()
    expect(picture).to_have_count(0)
    page.get_by_text("Show heatmaps that are not proven").click()
    for name, key in (("Opacity", "End"), ("Hide heat", "End"), ("Hide heat", "Home"), ("Opacity", "Home")):
        before = picture.get_attribute("src")
        page.get_by_role("slider", name=name).press(key)
        expect(picture).not_to_have_attribute("src", str(before))
    assert site.predictions() == asked
    assert_tab_order(page)
    for width, height in ((1366, 768), (1920, 1080)):  # plain and with heat side by side, without scrolling
        page.set_viewport_size({"width": width, "height": height})
        for shown in (page.get_by_role("img", name="Plain radiograph"), picture):
            expect(shown).to_be_in_viewport(ratio=1)
    page.set_viewport_size({"width": 390, "height": 844})
    verdict, plain = page.locator("h2").bounding_box(), page.get_by_role("img", name="Plain radiograph").bounding_box()
    assert verdict and plain and verdict["y"] < plain["y"] and plain["width"] > 300
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.set_viewport_size({"width": 1280, "height": 900})
    for button, first_bytes in (("Download this overlay", b"\x89PNG"), ("Download this table", b"file,error")):
        with page.expect_download() as download:
            page.get_by_role("button", name=button).click()
        assert Path(download.value.path()).read_bytes().startswith(first_bytes)

    upload(page, b"garbage")
    expect(page.get_by_text("The file is refused.", exact=True)).to_be_in_viewport()
    site.stop()
    page.reload()
    expect(page.get_by_text("The service is down")).to_be_in_viewport()
    expect(page.get_by_text(RESEARCH_USE_ONLY).first).to_be_in_viewport()
    site.restart()
    page.get_by_role("button", name="Try again").press("Enter")
    expect(page.get_by_text("The service is down")).to_have_count(0)
    assert said == []


def test_the_documentation_of_the_api_needs_no_other_site(site: Site, page: Page) -> None:
    said: list[str] = []
    browser = page.context.browser
    assert browser is not None
    documentation = browser.new_page()
    documentation.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    documentation.on("pageerror", lambda error: said.append(str(error)))
    asked: list[str] = []
    documentation.on("request", lambda request: asked.append(request.url))
    documentation.set_default_timeout(MILLISECONDS)
    documentation.goto(f"{site.url}/docs#/Predictions/predict")
    expect(documentation.locator(".opblock")).to_have_count(8)
    expect(documentation.get_by_text("Find in one radiograph")).to_be_visible()
    documentation.locator("input[type=file]").set_input_files({"name": "x", "mimeType": "image/png", "buffer": PNG})
    documentation.get_by_role("button", name="Execute").click()
    expect(documentation.locator(".live-responses-table")).to_contain_text('"predicted_labels"')
    assert said == [] and all(url.startswith((f"{site.url}/", "data:", "blob:")) for url in asked)
    documentation.close()


def assert_tab_order(page: Page) -> None:
    """The keyboard reaches the controls in the order in which they are read."""
    page.get_by_role("combobox", name="Explain the finding").focus()
    reached = []
    for _ in range(4):
        reached.append(page.evaluate("document.activeElement.getAttribute('aria-label') || ''"))
        page.keyboard.press("Tab")
    wanted = ("Explain", "Show heatmaps", "Hide heat", "Opacity")
    assert all(map(operator.contains, reached, wanted)), reached
