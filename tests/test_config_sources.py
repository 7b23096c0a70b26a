"""`tsrec config show`: precedence, sources, hidden secrets; mistakes are told with their place and a likely name."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from stream_app.cli import tsrec
from stream_app.errors import UsageError
from stream_app.setting_sources import nearest, unknown_variables
from stream_app.settings import load

Show = Callable[..., Result]


@pytest.fixture
def show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Show:
    """`tsrec config show ARGUMENTS` in an empty folder, the environment as given."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("TSREC_"):
            monkeypatch.delenv(name)

    def run(*arguments: str, **environment: str) -> Result:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return CliRunner().invoke(tsrec, ["config", "show", *arguments])

    return run


def rows(result: Result) -> dict[str, dict[str, Any]]:
    """What `--json` printed, by variable."""
    assert result.exit_code == 0, result.output
    return {row["variable"]: row for row in map(json.loads, result.stdout.splitlines())}


def test_an_option_wins_over_the_environment_that_over_dotenv_that_over_toml(show: Show) -> None:
    Path("tsrec.toml").write_text('bootstrap = "toml:1"\ngroup = "toml"\nk = 1\npartitions = 2\n')
    Path(".env").write_text("TSREC_BOOTSTRAP=dotenv:1\nTSREC_GROUP=dotenv\nTSREC_K=2\n")
    found = rows(show("--json", "--bootstrap", "option:1", TSREC_BOOTSTRAP="environment:1", TSREC_GROUP="environment"))
    assert (found["TSREC_BOOTSTRAP"]["value"], found["TSREC_BOOTSTRAP"]["source"]) == ("option:1", "option")
    assert (found["TSREC_GROUP"]["value"], found["TSREC_GROUP"]["source"]) == ("environment", "environment")
    assert (found["TSREC_K"]["value"], found["TSREC_K"]["source"]) == (2, ".env")
    partitions = found["TSREC_PARTITIONS"]
    assert (partitions["value"], partitions["source"], partitions["place"]) == (2, "tsrec.toml", "partitions")
    assert found["TSREC_REPLICATION"]["source"] == "default"


def test_nested_settings_of_several_sources_come_together(show: Show) -> None:
    Path("tsrec.toml").write_text('[clicks]\nlateness_s = 5\n[clicks.fields]\nuser_id = "visitor"\n')
    found = rows(show("clicks", "--set", "--json", TSREC_CLICKS__FIELDS__TS="time"))
    assert {name: (row["value"], row["source"]) for name, row in found.items()} == {
        "TSREC_CLICKS__LATENESS_S": (5.0, "tsrec.toml"),
        "TSREC_CLICKS__FIELDS__USER_ID": ("visitor", "tsrec.toml"),
        "TSREC_CLICKS__FIELDS__TS": ("time", "environment"),
    }
    settings = load()
    assert settings.clicks.fields == {"user_id": "visitor", "ts": "time"}


def test_another_file_is_named_by_the_environment(show: Show, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text("k = 3\n")
    assert rows(show("k", "--json", TSREC_CONFIG=str(other)))["TSREC_K"]["source"] == str(other)
    missing = show("k", TSREC_CONFIG="none.toml")
    assert isinstance(missing.exception, UsageError)
    assert "none.toml" in str(missing.exception)


def test_secrets_are_never_shown(show: Show) -> None:
    secrets = {
        "TSREC_WEB_TOKEN": "hush-token", "TSREC_BROKER__SASL_MECHANISM": "PLAIN",
        "TSREC_BROKER__SASL_USERNAME": "ann", "TSREC_BROKER__SASL_PASSWORD": "hush-password",
        "TSREC_BROKER__TLS_KEY_PASSWORD": "hush-key",
    }  # fmt: skip
    for output in (show(**secrets), show("--json"), show("--set")):
        assert output.exit_code == 0
        assert "hush" not in output.output
        assert output.output.count("(hidden)") == 3
    assert "ann" in show("broker").output


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ('gropu = "x"', "no setting gropu in tsrec.toml: did you mean group?"),
        ("[clicks]\nlatenes_s = 1", "no setting clicks.latenes_s in tsrec.toml: did you mean clicks.lateness_s?"),
        ("[ladder]\nwhatever_it_is = 1", "no setting ladder.whatever_it_is in tsrec.toml: docs/settings.md"),
        ("k = 0", "setting k in tsrec.toml: Input should be greater than or equal to 1 (it was 0)"),
        ("k =", "tsrec.toml is not TOML"),
        ('[broker]\nsasl_mechanism = "PLAIN"', "setting broker in tsrec.toml: SASL_MECHANISM needs SASL_USERNAME"),
        ('[broker]\ntls_ca = "ca.pem"', "TLS=true is not"),
        ('[broker]\nsasl_username = "ann"', "SASL_MECHANISM (PLAIN, SCRAM-SHA-256, SCRAM-SHA-512) is not"),
        (
            '[broker]\nsasl_mechanism = "PLAIN"\nsasl_username = "a"\nsasl_password = "hush"\n'
            'sasl_password_file = "f"',
            "either SASL_PASSWORD or SASL_PASSWORD_FILE",
        ),
        ('[clicks.fields]\nuser = "visitor"', "TSREC_CLICKS__FIELDS and TSREC_CLICKS__VALUES: Click has no field"),
        ('[trades.fields]\nprice = "quantity"', "two fields of Trade are read from quantity"),
        ('[clicks.values.action]\npv = "veiw"', "CLICKS__VALUES: action is one of view, click, cart, favorite, not"),
        ('[broker]\nsasl_password = 12345', "Input should be a valid string (it was not shown here)"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place_and_what_to_write(show: Show, toml: str, expected: str) -> None:
    Path("tsrec.toml").write_text(toml)
    error = show().exception
    assert isinstance(error, UsageError)
    assert expected in str(error)
    assert "hush" not in str(error)
    assert "12345" not in str(error)


def test_dotenv_may_hold_what_others_want_but_no_setting_that_is_none(show: Show) -> None:
    Path(".env").write_text("POSTGRES_PASSWORD=x\nGROUP=y\nTSREC_K=4\n")
    assert rows(show("k", "--json"))["TSREC_K"]["value"] == 4
    Path(".env").write_text("TSREC_GROPU=y\n")
    assert "no setting TSREC_GROPU in .env: did you mean TSREC_GROUP?" in str(show().exception)


def test_a_value_that_is_no_json_is_told_without_its_text(show: Show) -> None:
    error = show(TSREC_TRIGGER="hush").exception
    assert isinstance(error, UsageError)
    assert "trigger" in str(error)
    assert "hush" not in str(error)


def test_unknown_variables_are_told_but_not_those_of_an_orchestrator(show: Show) -> None:
    environment = {
        "TSREC_GROPU": "", "TSREC_PORT": "tcp://10.0.0.1:80", "TSREC_SERVICE_HOST": "", "TSREC_PORT_80_TCP_ADDR": "",
        "TSREC_K": "1", "TSREC_CLICKS__FIELDS__TS": "t", "TSREC_CONFIG": "x", "PATH": "",
    }  # fmt: skip
    assert unknown_variables(environment) == {"TSREC_GROPU": "TSREC_GROUP"}
    assert "TSREC_GROPU is in the environment, and is no setting" in show("k", TSREC_GROPU="1").stderr
    worker = CliRunner().invoke(tsrec, ["worker"], env={"TSREC_GROPU": "1", "TSREC_K": "0"})  # ends before it begins
    assert "TSREC_GROPU is in the environment, and is no setting; did you mean TSREC_GROUP?" in worker.stderr


def test_the_nearest_name_is_looked_for_at_the_same_level() -> None:
    assert nearest(("clicks", "time_units")) == "time_unit"
    assert nearest(("latenes_s",)) is None
    assert nearest(("nothing", "like", "it")) is None
