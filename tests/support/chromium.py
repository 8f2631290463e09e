"""A headless Chromium that talks to this machine only, and tells what its console said."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

_QUIET = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
_MOST_HEIGHT = 1050


class Chromium:
    """One window."""

    def __init__(self, driver: webdriver.Chrome, origin: str) -> None:
        self.driver, self.origin = driver, origin

    def open(self, path: str) -> None:
        """Go to a page of ours."""
        self.driver.get(self.origin + path)

    def find(self, selector: str) -> WebElement:
        """The one element that a CSS selector finds."""
        found = self.driver.find_elements(By.CSS_SELECTOR, selector)
        assert len(found) == 1, (selector, len(found), self.driver.title)
        return found[0]

    def count(self, selector: str) -> int:
        """How many it finds."""
        return len(self.driver.find_elements(By.CSS_SELECTOR, selector))

    def click(self, words: str, tag: str = "*") -> None:
        """Click the link or button that says so, and wait for the page it leads to."""
        says = f"starts-with(normalize-space(.), {words!r})"
        self._go(By.XPATH, f"//{tag}[(self::a or self::button) and {says}]")

    def follow(self, selector: str) -> None:
        """Click the one element that a CSS selector finds, and wait for the page it leads to."""
        self._go(By.CSS_SELECTOR, selector)

    def _go(self, how: str, what: str) -> None:
        page = self.driver.find_element(By.TAG_NAME, "html")
        for last in (False, False, True):
            found = self.driver.find_elements(how, what)
            assert len(found) == 1, (what, len(found), self.text[:2000])
            try:
                found[0].click()
                break
            except WebDriverException as error:  # a table that was just renewed
                if last or not _is_gone(error):
                    raise
        WebDriverWait(self.driver, 30).until(lambda _: _has_left(page))

    def fill(self, **fields: str) -> None:
        """Type into fields, by their ids."""
        for name, text in fields.items():
            area = self.find(f"#{name}")
            area.clear()
            area.send_keys(text)

    def login(self, name: str, password: str) -> None:
        """Log in."""
        self.open("/login")
        self.fill(name=name, password=password)
        self.follow("main form button")

    def number(self, script: str) -> float:
        """What a script finds, 0 if it finds nothing."""
        return float(self.driver.execute_script(f"return {script} ?? 0"))

    @property
    def text(self) -> str:
        """What a person sees."""
        return str(self.driver.execute_script("return document.body.innerText"))  # at once: the page may be renewed

    def said(self) -> list[str]:
        """What the console said since it was asked last."""
        return [f"{entry['level']} {entry['message']}" for entry in self.driver.get_log("browser")]

    def picture(self, name: str, width: int = 1100) -> None:
        """A picture of the page, if somebody wants pictures: FLAME_SCREENSHOTS is the folder."""
        if folder := os.environ.get("FLAME_SCREENSHOTS"):
            self.driver.set_window_size(width, 700)
            height = int(self.driver.execute_script("return document.documentElement.scrollHeight"))
            self.driver.set_window_size(width, max(500, min(height + 150, _MOST_HEIGHT)))
            self.driver.save_screenshot(str(Path(folder) / f"{name}.png"))


@contextmanager
def chromium(origin: str, profile: Path, *, javascript: bool = True) -> Iterator[Chromium]:
    """One that ends with the block. Skips the test if there is none, fails it where CI promised one."""
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    driver_path = shutil.which("chromedriver")
    if binary is None or driver_path is None:
        give_up = pytest.fail if os.environ.get("FLAME_REQUIRE_ALL") == "1" else pytest.skip
        give_up("Chromium and its driver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = str(binary)
    for word in (*_QUIET, f"--user-data-dir={profile}", "--window-size=1100,900"):
        options.add_argument(word)
    if not javascript:
        options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(driver_path)))
    driver.implicitly_wait(0)
    try:
        yield Chromium(driver, origin)
    finally:
        driver.quit()


def _is_gone(error: WebDriverException) -> bool:
    """Whether an element is no longer in its page; the driver has two ways to say so."""
    return isinstance(error, StaleElementReferenceException) or "does not belong to the document" in str(error.msg)


def _has_left(page: WebElement) -> bool:
    """Whether the browser shows another page than this element's."""
    try:
        page.is_enabled()
    except WebDriverException as error:
        if _is_gone(error):
            return True
        raise
    return False
