"""Tests the server's page in headless Chromium by keyboard alone, on a wide screen and on a phone.

    pip install playwright                      # and Chromium: apt install chromium, or `playwright install chromium`
    cargo run --release -- quickstart
    python scripts/check_page.py target/release/rankstill runs/quickstart --screenshots runs/page

Serves a student and its teacher with item titles and checks: every control can be reached by Tab and is visible and marked when focused;
the page shows for a user and for a history what the server's routes answer; no request goes to another host; no error is logged; text has
enough contrast (WCAG 2.2: 4.5 to 1) in light and dark mode; nothing is wider than a phone, and no control is smaller than 24 px.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from playwright.sync_api import sync_playwright

WIDE, PHONE = {"width": 1200, "height": 900}, {"width": 360, "height": 740}
TABS = 400  # more than the page has tab stops

# The focused element: its name, whether it is in view and visibly marked.
FOCUSED = """() => {
    const it = document.activeElement, box = it.getBoundingClientRect(), style = getComputedStyle(it);
    const name = it.id || it.getAttribute('aria-label') || it.textContent.trim();
    const seen = box.width > 0 && box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
    const marked = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
    return { tag: it.tagName, name, seen, marked };
}"""

# Texts with too little contrast to their background: [text, ratio].
PALE = """() => {
    const probe = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const rgb = (colour) => { probe.clearRect(0, 0, 1, 1); probe.fillStyle = colour; probe.fillRect(0, 0, 1, 1); return [...probe.getImageData(0, 0, 1, 1).data]; };
    const light = ([r, g, b]) => [r, g, b].map((c) => (c /= 255) <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
        .reduce((sum, c, at) => sum + c * [.2126, .7152, .0722][at], 0);
    const behind = (node) => { for (; node; node = node.parentElement) { const c = rgb(getComputedStyle(node).backgroundColor); if (c[3] > 250) return c; } return [255, 255, 255]; };
    const pale = [], texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const node = texts.currentNode.parentElement, text = texts.currentNode.data.trim();
        if (!text || !node.checkVisibility() || ['OPTION', 'SCRIPT'].includes(node.tagName)) continue;
        const [a, b] = [light(rgb(getComputedStyle(node).color)), light(behind(node))];
        const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
        if (ratio < 4.5) pale.push([text, ratio]);
    }
    return pale;
}"""

SMALL = """() => [...document.querySelectorAll('button, select, input:not([type=checkbox]), summary')].filter((it) => it.checkVisibility())
    .map((it) => [it.id || it.textContent.trim(), it.getBoundingClientRect()]).filter(([, box]) => box.width < 24 || box.height < 24).map(([name]) => name)"""

found = []


def expect(what, holds, told=""):
    print(f"{'ok   ' if holds else 'WRONG'} {what}{'' if holds else f': {told}'}", flush=True)
    if not holds:
        found.append(what)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", help="a built rankstill")
    parser.add_argument("run", type=Path, help="the folder that `rankstill quickstart` made")
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"), help="playwright's own where there is none")
    parser.add_argument("--screenshots", type=Path, help="a folder for what it saw")
    args = parser.parse_args()
    student, teacher = (f"{name}={args.run}/models/{folder}/seed-1/artefact" for name, folder in (("Student", "MF-16-KD"), ("Teacher", "iALS-128")))
    with tempfile.TemporaryDirectory() as scratch:
        titles, users = Path(scratch, "items.tsv"), Path(scratch, "users.tsv")
        subprocess.run([args.binary, "recommend", student.split("=")[1], "--all", "--k", "50", "--out", users, "--quiet"], check=True)
        rows = [line.split("\t") for line in users.read_text().splitlines()]
        at = {name: place for place, name in enumerate(rows[0])}
        user, item, other = rows[1][at["user_id"]], rows[1][at["item_id"]], rows[2][at["item_id"]]
        items = sorted({row[at["item_id"]] for row in rows[1:]})
        titles.write_text("item_id\ttitle\n" + "".join(f"{one}\tThe tale of {one}\n" for one in items))
        command = [args.binary, "serve", student, teacher, "--items", titles, "--listen", "127.0.0.1:0", "--events", Path(scratch, "events")]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            address = next(word for line in server.stdout for word in line.split() if word.startswith("http://"))
            check(address.rstrip("/"), args, user, item, other)
        finally:
            server.terminate()
            server.wait()
    sys.exit(f"{len(found)} wrong" if found else None)


def check(address, args, user, item, other):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=args.chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=WIDE)
        hosts, errors = set(), []
        page.on("request", lambda request: hosts.add(request.url.split("/")[2] if "//" in request.url else address.split("/")[2]))
        page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        page.wait_for_selector("#answers li")
        press, kind = page.keyboard.press, page.keyboard.type

        def shot(name):
            if args.screenshots:
                args.screenshots.mkdir(parents=True, exist_ok=True)
                page.screenshot(path=args.screenshots / f"{name}.png", full_page=True)

        def focus(name):
            """By Tab, from the top."""
            page.evaluate("() => { document.activeElement.blur(); getSelection().removeAllRanges(); scrollTo(0, 0); }")
            for _ in range(TABS):
                press("Tab")
                if page.evaluate(FOCUSED)["name"].startswith(name):
                    return True
            return False

        def ranked(list_at=0):
            rows = page.locator(".list").nth(list_at).locator("li .name > .more:first-child")
            return [text.strip() for text in rows.all_text_contents()]

        def answer(**body):
            request = urllib.request.Request(f"{address}/v1/recommendations", json.dumps({"k": 10, **body}).encode(), {"content-type": "application/json"})
            return [one["item"] for one in json.load(urllib.request.urlopen(request))["items"]]

        def settles(what, holds):
            """The page answers within seconds."""
            for _ in range(50):
                if holds():
                    break
                page.wait_for_timeout(100)
            expect(what, holds(), f"{ranked()}")

        # All controls, in document order.
        order, unseen, unmarked = [], [], []
        for _ in range(TABS):
            press("Tab")
            at = page.evaluate(FOCUSED)
            if at["tag"] == "BODY":
                break
            order.append(at["name"])
            unseen += [] if at["seen"] else [at["name"]]
            unmarked += [] if at["marked"] else [at["name"]]
        form = ["user", "model", "beside", "k", "with-seen", "add", "add-button", "go", "again", "Key"]
        expect("the form comes first, from top to bottom", order[: len(form)] == form, order[:12])
        expect("every recommended item can be added", sum(name.startswith("Add The tale") for name in order) == 20, order)
        expect("every card opens", order.count("Card") == 2, order)
        expect("what has the focus is in sight", not unseen, unseen)
        expect("and marked", not unmarked, unmarked)

        focus("user")
        kind(user)
        press("Enter")
        settles("Enter asks for the user, and the routes answer the same", lambda: ranked() == answer(user=user, model="Student"))
        expect("the teacher stands beside", ranked(1) == answer(user=user, model="Teacher"), ranked(1))
        shared = len(set(ranked()) & set(ranked(1)))
        expect("what they share is told", page.inner_text("#status") == f"{shared} of 10 items are in both lists.", page.inner_text("#status"))
        shot("user")

        focus("add")
        kind(item)
        press("Enter")
        kind(other)
        press("Enter")
        both = dict(user=user, history=[item, other])
        settles("two typed items change the answer", lambda: ranked() == answer(**both, model="Student"))
        settles("and stand there by their titles", lambda: page.locator("#chips").inner_text().count("The tale of") == 2)
        focus("Remove")
        press("Enter")
        settles("Enter takes one out", lambda: ranked() == answer(user=user, history=[other], model="Student"))
        expect("and the focus is where the next is typed", page.evaluate(FOCUSED)["name"] == "add", page.evaluate(FOCUSED))

        focus("user")
        press("Control+a")
        press("Delete")
        press("Enter")
        settles("nobody with a history is answered by it", lambda: ranked() == answer(history=[other], model="Student"))
        focus("Add The tale")
        new = ranked()[0]
        press("Space")
        settles("Space on a recommended item adds it", lambda: ranked() == answer(history=[other, new], model="Student"))

        focus("model")
        press("ArrowDown")
        settles("an arrow chooses the other model", lambda: ranked() == answer(history=[other, new], model="Teacher"))
        focus("k")
        press("ArrowDown")
        settles("and fewer items", lambda: len(ranked()) == 9)
        focus("with-seen")
        press("Space")
        settles("what is known may come back", lambda: page.locator("#with-seen").is_checked() and len(ranked()) == 9)
        focus("add")
        kind("tale of")
        page.wait_for_selector("#found option", state="attached")
        expect("titles are found while typing", page.locator("#found option").count() == 12, page.locator("#found option").count())
        press("Control+a")
        press("Delete")
        focus("Card")
        press("Enter")
        expect("a card opens by Enter", page.locator(".card details[open]").count() == 1)
        shot("history")

        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            pale = page.evaluate(PALE)
            expect(f"text can be read ({scheme})", not pale, pale[:5])
        page.set_viewport_size(PHONE)
        wide = page.evaluate("() => document.documentElement.scrollWidth")
        expect("nothing is wider than a phone", wide <= PHONE["width"], wide)
        small = page.evaluate(SMALL)
        expect("nothing is too small to touch", not small, small)
        shot("phone-dark")

        expect("nobody else was asked", hosts == {address.split("/")[2]}, hosts)
        expect("no error was logged", not errors, errors)
        focus("user")
        page.route("**/v1/recommendations", lambda route: route.fulfill(status=503, content_type="application/problem+json", body='{"title": "overloaded", "detail": "too many wait"}'))
        press("Enter")
        page.wait_for_timeout(300)
        expect("a refusal is told", page.inner_text("#status") == "too many wait", page.inner_text("#status"))
        browser.close()


if __name__ == "__main__":
    main()
