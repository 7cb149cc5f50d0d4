"""Looks at a report and at the pages of `retort serve` in Chromium, as people do who use a keyboard, a screen reader, a phone.

    browser.py PROGRAM SWEEP [--shots DIR]

PROGRAM is retort, SWEEP a folder of a sweep that has ended. Ends with "N checks pass", or with what failed and exit code 1.
--shots writes a picture of each page at each width, light and dark. Needs selenium, chromedriver and axe-playwright-python.
"""
import argparse
import csv
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import axe_playwright_python
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
WIDTHS = (420, 800, 1400, 1600)
FOCUSABLE = "a[href], button:not(:disabled), input, select, summary, [tabindex='0']"
failures, passed = [], 0


def check(fine, what):
    global passed
    if fine:
        passed += 1
    else:
        failures.append(what)
        print("failed:", what, flush=True)


def browser():
    options = webdriver.ChromeOptions()
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "no-first-run"):
        options.add_argument("--" + argument)
    options.binary_location = subprocess.run(["sh", "-c", "command -v chromium || command -v chromium-browser || command -v google-chrome"], capture_output=True, text=True).stdout.strip()
    driver = subprocess.run(["sh", "-c", "command -v chromedriver"], capture_output=True, text=True).stdout.strip()
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))


class Page:
    def __init__(self, driver, name, address):
        self.driver, self.name, self.address = driver, name, address

    def open(self, width, scheme="light"):
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False})
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        self.driver.get("about:blank")
        self.driver.get(self.address)
        self.until(lambda: self.js("return document.documentElement.dataset.ready"), "is ready")

    def js(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def until(self, condition, what, seconds=30):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                check(False, f"{self.name}: {what}")
                return
            time.sleep(0.02)

    def press(self, *keys):
        ActionChains(self.driver).send_keys(*keys).perform()

    def focus(self, element):
        self.js("arguments[0].focus()", element)

    def shot(self, path):
        height = min(9000, self.js("return document.documentElement.scrollHeight"))
        width = self.js("return innerWidth")
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})
        time.sleep(0.5)
        self.driver.save_screenshot(str(path))


def sound(page, where):
    check(page.js("return document.documentElement.dataset.errors || ''") == "", f"{where}: errors: {page.js('return document.documentElement.dataset.errors')}")
    beyond = page.js("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    check(beyond <= 0, f"{where}: {beyond} pixels wider than the window")


def readable(page, where):
    """Names, roles, contrast, and the rest of what axe looks for."""
    page.js(AXE)
    found = page.driver.execute_async_script("const end = arguments[0]; axe.run({ resultTypes: ['violations'] }).then(end, e => end({ violations: [{ id: String(e), nodes: [] }] }))")
    for rule in found["violations"]:
        nodes = "; ".join(f"{n['html'][:120]} ({'; '.join(x['message'] for x in n['any'] + n['all'] + n['none'])[:160]})" for n in rule["nodes"][:3])
        check(False, f"{where}: axe {rule['id']}, {len(rule['nodes'])} times: {nodes}")
    check(len(found["violations"]) == 0, f"{where}: axe")


def keyboard(page, where):
    """Tab reaches each control, in the page's order, and shows where it is; each has a name and a role that are read out."""
    page.js("document.querySelectorAll('details').forEach(d => { d.open = true; }); document.activeElement.blur(); scrollTo(0, 0)")
    wanted = page.js(f"""return [...document.querySelectorAll("{FOCUSABLE}")].filter(e => e.checkVisibility({{ visibilityProperty: true }}))
      .map((e, i) => {{ e.dataset.order = i; return i; }})""")
    unnamed = page.js("return [...document.querySelectorAll('canvas')].filter(e => e.checkVisibility() && !e.getAttribute('aria-label')).length")
    check(unnamed == 0, f"{where}: {unnamed} canvases have no name")
    reached, invisible = [], []
    page.js("document.body.tabIndex = -1; document.body.focus()")
    for _ in wanted:
        page.press(Keys.TAB)
        order, ring = page.js("const e = document.activeElement; return [e.dataset.order, getComputedStyle(e).outlineStyle]")
        if order is None:
            break
        reached.append(int(order))
        if ring == "none":
            invisible.append(int(order))
    text = lambda ids: ", ".join(page.js("return document.querySelector(`[data-order='${arguments[0]}']`).outerHTML.slice(0, 80)", i) for i in list(ids)[:3])
    check(reached == wanted, f"{where}: Tab reaches {len(reached)} of {len(wanted)} controls; missing: {text(set(wanted) - set(reached))}")
    check(not invisible, f"{where}: nothing shows that these have the focus: {text(invisible)}")
    controls = page.all(FOCUSABLE)
    for element in [e for e in controls if e.is_displayed()][:60]:
        check(element.accessible_name.strip() != "" and element.aria_role not in ("", "none", "generic"),
              f"{where}: nothing is read out for {element.get_attribute('outerHTML')[:100]}: '{element.accessible_name}', {element.aria_role}")


def sorting(page, where, table):
    """Enter on a head sorts, and says which way."""
    heads = page.all(f"{table} th button")
    check(len(heads) > 2, f"{where}: {table} has heads to sort by")
    head, answers, columns = heads[2].text, [], []
    for _ in range(2):
        page.focus(next(b for b in page.all(f"{table} th button") if b.text == head))
        page.press(Keys.ENTER)
        said = page.js("return [...document.querySelectorAll(arguments[0])].find(b => b.textContent === arguments[1]).parentElement.getAttribute('aria-sort')",
                       f"{table} th button", head)
        answers.append(said)
        columns.append(page.js("""const [table, name] = arguments, heads = [...document.querySelectorAll(`${table} thead tr > *`)];
          const at = heads.findIndex(e => e.textContent === name);
          return [...document.querySelectorAll(`${table} tbody tr:not(.teacher)`)].map(tr => tr.children[at].textContent)""", table, head))
        check(page.js("return document.activeElement.textContent") == head, f"{where}: the focus stays where it was after sorting")
    check(sorted(answers) == ["ascending", "descending"], f"{where}: sorted {answers}")
    check(columns[0] == columns[1][::-1] or len(set(columns[0])) < len(columns[0]), f"{where}: the second press turns the rows round")
    check(sorted(columns[0]) == sorted(columns[1]), f"{where}: sorting keeps the rows")


def rows_of(path):
    with open(path, newline="") as f:
        return list(csv.DictReader(f))


def figures(page, where, folder):
    """What the table of every cell shows is what progress.csv says, to the bit, and results.csv's rows are among them."""
    rows = rows_of(folder / "progress.csv")
    page.open(1400)
    choice = next(e for e in page.all("#tableControls select") if "Rows" in e.find_element(By.XPATH, "..").text)
    page.focus(choice)
    page.press(Keys.ARROW_DOWN)
    every = [b for b in page.all("#tableControls button") if b.text == "Show all" and b.is_displayed()]
    if every:
        page.focus(every[0])
        page.press(Keys.ENTER)
    heads = page.js("return [...document.querySelectorAll('#table th')].map(e => e.textContent)")
    shown = page.js("return [...document.querySelectorAll('#table tbody tr:not(.teacher)')].map(tr => [...tr.children].map(td => td.dataset.value ?? null))")
    check(len(shown) == len(rows), f"{where}: {len(shown)} rows of {len(rows)}")
    ends = rows_of(folder / "results.csv")
    check(0 < len(ends) < len(rows), f"{where}: {len(ends)} rows of {len(rows)} end a training")
    measures = [name for name in rows[0] if name.replace("_", " ") in heads and name not in ("loss",)]
    check(len(measures) >= 2, f"{where}: measures {measures}")
    for name in measures:
        column = heads.index(name.replace("_", " "))
        of_page = sorted(float(line[column]) for line in shown if line[column] is not None)
        of_file, of_ends = (sorted(float(row[name]) for row in table if row[name] not in ("", "nan")) for table in (rows, ends))
        check(of_page == of_file, f"{where}: {name}: the page has {of_page[:3]}, progress.csv {of_file[:3]}")
        check(not Counter(of_ends) - Counter(of_page), f"{where}: {name}: results.csv has {of_ends[:3]}, the page {of_page[:3]}")


def report(page, where):
    sorting(page, where, "#table")
    for select in page.all("main select"):
        if not select.is_displayed():
            continue
        before = select.get_property("selectedIndex")
        page.focus(select)
        page.press(Keys.ARROW_DOWN if before == 0 else Keys.ARROW_UP)
        check(select.get_property("selectedIndex") != before, f"{where}: arrows change {select.accessible_name}")
    summary = page.all("#provenance summary")[0]
    was_open = summary.find_element(By.XPATH, "..").get_property("open")
    page.focus(summary)
    page.press(Keys.ENTER)
    check(summary.find_element(By.XPATH, "..").get_property("open") != was_open, f"{where}: Enter opens and closes config.toml")
    check(page.js("return document.documentElement.dataset.errors || ''") == "", f"{where}: no errors after its use")


def runs(page, where):
    sorting(page, where, "#runTable")
    boxes = len(page.all("#runTable input"))
    for i in range(min(2, boxes)):
        page.focus(page.all("#runTable input")[i])
        page.press(Keys.SPACE)
    check(sum(b.is_selected() for b in page.all("#runTable input")) == 2, f"{where}: Space marks runs")
    check(page.all("#compare")[0].is_displayed() and len(page.all("#keys tbody tr")) > 0, f"{where}: two marked runs are compared")
    find = page.all("#runControls input")[0]
    page.focus(find)
    page.press("no such run")
    check(len(page.all("#runTable tbody tr")) == 0, f"{where}: what is typed finds")
    check("0 of" in page.all("#runNote")[0].text, f"{where}: how many are shown is said")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--shots", type=Path, help="a folder for pictures of the pages")
    options = parser.parse_args()
    sweep = options.sweep.resolve()
    server = subprocess.Popen([options.program, "serve", str(sweep.parent)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    driver = None
    try:
        address = next(m[0] for m in (re.search(r"http://127\.0\.0\.1:\d+/[0-9a-f]+/", line) for line in server.stdout) if m)
        threading.Thread(target=server.stdout.read, daemon=True).start()
        driver = browser()
        pages = [Page(driver, "report", (sweep / "report.html").as_uri()), Page(driver, "runs", address),
                 Page(driver, "served report", f"{address}report?path={sweep.name}")]
        for page in pages:
            for width in WIDTHS:
                for scheme in ("light", "dark"):
                    page.open(width, scheme)
                    sound(page, f"{page.name}, {width} pixels, {scheme}")
                    if width not in (420, 1400):
                        continue
                    readable(page, f"{page.name}, {width} pixels, {scheme}")
                    if options.shots:
                        options.shots.mkdir(parents=True, exist_ok=True)
                        page.shot(options.shots / f"{page.name.replace(' ', '_')}_{width}_{scheme}.png")
            for width in (420, 1400):
                page.open(width)
                keyboard(page, f"{page.name}, {width} pixels")
                (runs if page.name == "runs" else report)(page, f"{page.name}, {width} pixels")
        figures(pages[0], "report", sweep)
    finally:
        if driver is not None:
            driver.quit()
        server.terminate()
    if failures:
        sys.exit(f"{len(failures)} of {passed + len(failures)} checks failed")
    print(passed, "checks pass")


main()
