"""Settings: where they come from, what is refused, and that their page is not stale."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_app.errors import UsageError
from stream_app.settings import load
from stream_app.settings_reference import reference


def test_the_settings_page_is_not_stale() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "settings.md"
    assert page.read_text() == reference(), "run: python -m stream_app.settings_reference > docs/settings.md"


def test_a_foreign_field_is_mapped_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TSREC_CLICKS__FIELDS__USER_ID", "visitorid")
    monkeypatch.setenv("TSREC_CLICKS__TIME_UNIT", "ms")
    settings = load()
    assert settings.clicks.fields == {"user_id": "visitorid"}
    assert settings.clicks.time_unit == "ms"


def test_an_argument_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TSREC_K", "5")
    assert load().k == 5
    assert load(k=7).k == 7


@pytest.mark.parametrize(("name", "value"), [("K", "0"), ("GUARANTEE", "maybe"), ("LADDER__BUDGET_MS", "-1")])
def test_a_wrong_value_is_refused_with_the_setting_and_what_it_was(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"TSREC_{name}", value)
    with pytest.raises(UsageError, match=f"TSREC_{name}.*{value}"):
        load()


def test_a_secret_that_is_refused_is_not_shown() -> None:
    with pytest.raises(UsageError) as raised:
        load(web_token={"no": "ssh-hidden"})
    assert "TSREC_WEB_TOKEN" in str(raised.value)
    assert "ssh-hidden" not in str(raised.value)
    assert "ssh-hidden" not in repr(load(web_token="ssh-hidden"))
