"""One headless Chromium for all tests of pages; every page is watched for what it logs, throws and fetches."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

WIDE = 1280


@pytest.fixture(scope="session")
def downloads(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="session")
def browser(downloads) -> Iterator:
    """The browser that all tests of our own pages share."""
    driver = started(downloads)
    yield driver
    driver.quit()


@pytest.fixture
def another_browser(downloads) -> Iterator:
    """A browser for a page that is not ours: what runs there must not reach another test."""
    driver = started(downloads)
    yield driver
    driver.quit()


def started(downloads: Path):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    chromedriver = shutil.which("chromedriver")
    if not (chromium and chromedriver):
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--enable-unsafe-swiftshader",
    ):
        options.add_argument(argument)
    options.add_argument(f"--window-size={WIDE},900")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
    # What a policy stopped was tried: the page must not even try.
    watch = (
        "window.refused = [];"
        "document.addEventListener('securitypolicyviolation', (e) => refused.push(e.blockedURI))"
    )
    driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": watch})
    return driver


def arrived(browser, address: str, seconds: float = 60.0) -> None:
    """Waits until the page at an address has run its scripts."""
    state = "return [location.href, document.readyState, document.querySelectorAll('main > *').length]"
    end = time.monotonic() + seconds
    while True:
        there, ready, parts = browser.execute_script(state)
        if there == address and ready == "complete" and (parts or address == "about:blank"):
            return
        assert time.monotonic() < end, f"{address} is not shown: {there} is {ready}"
        time.sleep(0.05)


@pytest.fixture
def open_page(browser) -> Iterator[Callable]:
    """Opens a file; afterwards nothing may have been logged, thrown or fetched."""

    def opened(path: Path, width: int = WIDE):
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.get_log("performance")
        browser.get_log("browser")
        # On a busy machine `get` may return while the page before is still there: what is there is looked at.
        for address in ("about:blank", path.as_uri()):
            browser.get(address)
            arrived(browser, address)
        return browser

    yield opened
    assert browser.execute_script("return window.refused") == []
    complaints = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert complaints == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    fetched = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert any(url.startswith("file:") for url in fetched)  # the log sees the page itself
    assert [url for url in fetched if not url.startswith(("file:", "data:", "blob:"))] == []
