"""A student's first steps in a real browser: JupyterLab in Chromium, and no request that leaves the machine."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest

from labserve import coaching, notebooks, places, quizzes
from labserve.workspace import Workspace

IN_CI = bool(os.environ.get("CI"))
try:
    from playwright.sync_api import FrameLocator, Locator, Page, expect, sync_playwright
except ImportError:
    if IN_CI:
        raise
    pytest.skip("Playwright is not installed: pip install -e '.[test]'", allow_module_level=True)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(not (CHROMIUM or IN_CI), reason="there is no Chromium: apt install chromium")

START, STEP = 90, 30  # seconds that JupyterLab's start, and any one thing after it, may take on a busy machine
# What a browser asks of its maker, updates and the like, is not ours: it is off, and no other machine has an address.
ALONE = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
    "--no-first-run",
]


class Lab:
    """A notebook open in JupyterLab, used by mouse and keyboard. Cells go by their ids."""

    def __init__(self, page: Page, url: str, notebook: Path) -> None:
        self.page = page
        self.requests: list[str] = []
        self.errors: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("websocket", lambda socket: self.requests.append(socket.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(url)
        # The idle indicator of a notebook is already idle before there is a kernel; the status bar tells the truth.
        expect(page.get_by_text(re.compile(r"Python 3 .*\| Idle"))).to_be_visible(timeout=START * 1000)
        self._ids = [cell["id"] for cell in notebooks.read(notebook)["cells"]]

    def cell(self, cell_id: str) -> Locator:
        return self.page.locator(f'.jp-Notebook-cell[data-windowed-list-index="{self._ids.index(cell_id)}"]')

    def run_down_to(self, cell_id: str) -> None:
        """Shift+Enter from the first cell until this one is the next, and wait for what was started."""
        before = self._ids[: self._ids.index(cell_id)]
        self.cell(before[0]).click()
        for _ in before:
            self.page.keyboard.press("Shift+Enter")
        expect(self.cell(cell_id)).to_have_class(re.compile("jp-mod-active"))
        expect(self.page.locator(".jp-InputPrompt", has_text="*")).to_have_count(0)

    def run(self, cell_id: str) -> None:
        prompt = self.cell(cell_id).locator(".jp-InputPrompt")
        before = prompt.text_content() or ""
        self.cell(cell_id).locator(".cm-content").click()
        self.page.keyboard.press("Shift+Enter")
        expect(prompt).not_to_have_text(before)
        expect(prompt).to_have_text(re.compile(r"\[\d+\]"))

    def write(self, cell_id: str, source: str) -> None:
        """Replace all that the cell holds. The text goes in as if pasted: no bracket or indent is added to it."""
        self.cell(cell_id).locator(".cm-content").click()
        self.page.keyboard.press("ControlOrMeta+A")
        self.page.keyboard.insert_text(source)

    def shows(self, cell_id: str, *texts: str) -> None:
        """The cell's output, as it is rendered, contains each of these texts."""
        output = self._output(cell_id)
        for text in texts:
            expect(output).to_contain_text(text, use_inner_text=True)

    def shows_none_of(self, cell_id: str, *texts: str) -> None:
        for text in texts:
            expect(self._output(cell_id)).not_to_contain_text(text)

    def choose(self, cell_id: str, question: str, choice: str) -> None:
        """Click a choice of a quiz."""
        box = self.cell(cell_id).locator(".Quiz", has_text=question)
        box.locator(".MCButton", has_text=choice).click()

    def inner_page(self, cell_id: str) -> FrameLocator:
        """The page that the cell's output holds."""
        return self.cell(cell_id).frame_locator("iframe")

    def _output(self, cell_id: str) -> Locator:
        output = self.cell(cell_id).locator(".jp-Cell-outputArea")
        output.scroll_into_view_if_needed()  # what is off the screen is not rendered
        return output


@pytest.fixture
def lab(space: Workspace, tmp_path: Path) -> Iterator[Lab]:
    """The first notebook, opened by somebody new."""
    assert CHROMIUM, "there is no Chromium, and in CI this test has to run"
    expect.set_options(timeout=STEP * 1000)
    with (
        jupyterlab(home=tmp_path) as url,
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=CHROMIUM, args=ALONE) as browser,
        browser.new_page(viewport={"width": 1280, "height": 900}) as page,
    ):
        page.set_default_timeout(STEP * 1000)
        yield Lab(page, url, places.NOTEBOOKS / space.workbook.chapter(1).notebook)


@contextmanager
def jupyterlab(home: Path) -> Iterator[str]:
    """Run `labserve lab` with no settings but these; gives the URL it prints, and ends all it started."""
    settings = home / ".jupyter" / "jupyter_server_config.json"
    settings.parent.mkdir()
    settings.write_text(json.dumps({"ServerApp": {"allow_root": True, "open_browser": False}}))
    process = subprocess.Popen(
        [sys.executable, "-c", "from labserve.cli import main; main()", "lab", "--port", "0"],
        env={name: value for name, value in os.environ.items() if "JUPYTER" not in name} | {"HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    log: list[str] = []
    url: Future[str] = Future()

    def read() -> None:
        for line in process.stdout or ():
            log.append(line)
            if not url.done() and (found := re.search(r"http://127\.0\.0\.1:\d+/\S*token=\w+", line)):
                url.set_result(found[0])
        if not url.done():
            url.set_exception(RuntimeError("JupyterLab ended before it printed its URL"))

    reader = Thread(target=read, daemon=True)
    reader.start()
    try:
        yield url.result(START)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        reader.join(STEP)  # its output ends when the last of its processes has gone, the kernel too
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        print("".join(log))  # pytest shows it when a test fails


def test_a_student_solves_an_exercise_offline(space: Workspace, lab: Lab) -> None:
    lab.run_down_to("exercise-1-1")
    lab.shows("setup", "labserve is ready")
    lab.shows("first-live-code", "200", "Hello World")

    wrong = Path(__file__).parent / "wrong_answers" / "1.1" / "endpoints_as_a_list.py"
    earns, _, source = wrong.read_text().partition("\n")
    lab.write("exercise-1-1", f"%%exercise 1.1\n{source}")
    lab.run("exercise-1-1")
    lab.shows("exercise-1-1", "1.1 is stored in my_service/hello.py")
    lab.run("check-1-1")
    lab.shows("check-1-1", "✗ its endpoints", "sent:", "got:", "expected:", "likely cause:", "0.67 of 1 points")
    lab.shows("check-1-1", earns.removeprefix("# earns: "))
    lab.shows_none_of("check-1-1", "Traceback", "CheckFailed")

    right = coaching.reference_answer(space, space.workbook.exercise("1.1"))
    lab.write("exercise-1-1", f"%%exercise 1.1\n{right}")
    lab.run("exercise-1-1")
    lab.run("check-1-1")
    lab.shows("check-1-1", "✓ its endpoints", "1 of 1 points")
    lab.shows_none_of("check-1-1", "✗")

    lab.run("quiz")
    questions = quizzes.load(places.QUIZZES / space.workbook.chapter(1).quiz)
    question = next(question for question in questions if question.type == "multiple_choice")
    for choice in sorted(question.answers, key=lambda answer: answer.correct)[-2:]:  # a wrong one, then the right one
        lab.choose("quiz", rendered(question.question), rendered(choice.answer))
        lab.shows("quiz", rendered(choice.feedback))

    lab.run("docs-show")
    docs = lab.inner_page("docs-show")
    operations = ["/", "/health", "/models/{model_name}", "/models", "/inspect"]
    expect(docs.locator(".opblock-summary-path")).to_have_text(operations)
    docs.locator(".opblock-summary-path").first.click()
    docs.get_by_role("button", name="Try it out").click()
    docs.get_by_role("button", name="Execute").click()
    expect(docs.locator(".live-responses-table")).to_contain_text('"service": "labserve"')

    assert not [url for url in lab.requests if leaves_the_machine(url)]
    assert not lab.errors
    assert not lab.page.locator(".jp-Dialog, .Toastify__toast").all_inner_texts(), "JupyterLab asks something"


def rendered(text: str) -> str:
    """A quiz's text as it is read: code without its backticks."""
    return text.replace("`", "")


def leaves_the_machine(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme not in ("about", "blob", "data") and parts.hostname not in ("127.0.0.1", "localhost")
