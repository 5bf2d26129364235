"""Takes the screenshots of this folder: every page, wide, on a phone and in the dark, of a studio that it fills itself.

python docs/screenshots/take.py        (needs chromium and `pip install -e .[ml,dev]`; about four minutes on two cores)
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

HERE = Path(__file__).parent
SAMPLE = HERE.parents[1] / "samples" / "character-juno"
VIEWS = {"": (1280, 860, "light"), "-390": (390, 844, "light"), "-dark": (1280, 860, "dark")}


def main() -> None:
    """Fill a studio, open it, and look at every page."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GREENROOM_HOME"] = folder
        trained = _greenroom("train", str(SAMPLE), "--name", "Juno", "--trigger", "JUNO_01", "--json")
        actor, training = trained["actor_id"], trained["training"]
        out = ["--out", f"{folder}/out", "--json"]
        for prompt in ("@JUNO_01, a woman, laughing, in space", "@JUNO_01, a woman, happy, at the beach"):
            _greenroom("generate", prompt, "--count", "4", "--seed", "7", *out)
        server = subprocess.Popen(
            [sys.executable, "-m", "greenroom", "serve", "--port", "0"], stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout is not None
            found = re.search(r"http://\S+", server.stdout.readline())
            assert found
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
                )
                _pages(browser, found[0], actor, training)
                browser.close()
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)


def _pages(browser: Browser, url: str, actor: str, training: str) -> None:
    pages = {
        "gallery": "/",
        "kind": "/train",
        "name": "/train/character",
        "pictures": f"/actors/{actor}/pictures",
        "captions": f"/actors/{actor}/captions",
        "review": f"/actors/{actor}/review",
        "training": f"/trainings/{training}",
        "actor": f"/actors/{actor}",
        "generate": f"/generate?actor={actor}",
        "history": "/history",
        "trash": "/trash",
    }
    for suffix, (width, height, scheme) in VIEWS.items():
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
        )
        page = context.new_page()
        page.set_default_timeout(180_000)
        for name, path in pages.items():
            page.goto(url + path)
            _keep(page, name + suffix)
        page.goto(f"{url}/history")
        page.locator(".made a").first.click()
        page.locator(".made-prompt").wait_for()
        _keep(page, f"picture{suffix}")
        context.close()

    # A second version, in the middle of its training.
    context = browser.new_context(viewport={"width": 1280, "height": 860}, reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(300_000)
    page.goto(f"{url}/actors/{actor}/review")
    page.get_by_role("button", name="Train Juno").click()
    page.locator(".strip-row").first.wait_for()
    _keep(page, "training-live")
    page.get_by_role("button", name="Cancel").click()
    context.close()


def _keep(page: Page, name: str) -> None:
    page.wait_for_load_state("load")
    page.evaluate("Promise.all([...document.images].map((one) => one.decode().catch(() => null)))")
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(HERE / f"{name}.webp", quality=82, method=6)


def _greenroom(*arguments: str) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "greenroom", *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    answer: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return answer


if __name__ == "__main__":
    main()
