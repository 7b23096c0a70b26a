"""`tsrec evaluate ranking` as a user calls it."""

import json
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from stream_app import cli
from stream_app.commands.evaluate_ranking import command

WANTED = {"model", "users", "items", "events", "hr@10", "ndcg@10", "mrr@20", "recall@20", "train_s"}


def run(*arguments):
    result = CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.output.strip().splitlines()[-1])


@pytest.fixture
def walks(tmp_path):
    """Users, or sessions, that mostly go to the next item, over ten days."""
    rng = np.random.default_rng(0)
    path, lines = tmp_path / "walks.csv", []
    for user in range(150):
        items = (rng.integers(30) + np.cumsum(np.where(rng.random(6) < 0.8, 1, rng.integers(1, 30, 6)))) % 30
        start = 1_700_000_000 + user * 10 * 86_400 / 150
        lines += [(f"u{user}", f"i{item}", start + 60 * place) for place, item in enumerate(items)]
    path.write_text("user_id,item_id,ts\n" + "".join(f"{u},{i},{t}\n" for u, i, t in lines))
    return path


@pytest.mark.parametrize("protocol", ["loo", "temporal", "prequential"])
def test_the_last_line_is_one_json_object_with_the_figures(walks, protocol):
    figures = run(walks, "--protocol", protocol, "--model", "rules")
    assert figures.keys() >= WANTED
    assert (figures["users"], figures["items"], figures["events"]) == (150, 30, 900)
    assert figures["hr@10"] > 0.5
    low, high = figures["intervals"]["ndcg@10"]
    assert low < figures["ndcg@10"] < high


def test_sessions_have_their_own_column(walks):
    walks.write_text(walks.read_text().replace("user_id", "session_id"))
    figures = run(walks, "--protocol", "session", "--model", "rules", "--max-minutes", "1")
    assert figures["questions"] == 15 * 5
    assert figures["mrr@20"] > 0.3


def test_columns_may_have_other_names(walks):
    walks.write_text(walks.read_text().replace("user_id,item_id,ts", "who,what,when"))
    named = run(walks, "--model", "popularity", "--columns", "user_id=who,item_id=what,ts=when")
    assert named["events"] == 900


def test_without_refit_the_model_learns_less(walks):
    assert (
        run(walks, "--model", "popularity", "--no-refit")["ndcg@10"] != run(walks, "--model", "popularity")["ndcg@10"]
    )


def test_one_run_may_give_the_figures_before_and_after_the_validation_events_are_learned(walks):
    both = run(walks, "--model", "popularity", "--before-refit")
    assert both["before_refit"]["ndcg@10"] == run(walks, "--model", "popularity", "--no-refit")["ndcg@10"]
    assert both["before_refit"]["ndcg@10"] != both["ndcg@10"] == run(walks, "--model", "popularity")["ndcg@10"]


def test_the_clock_ends_the_prequential_protocol(walks):
    figures = run(walks, "--protocol", "prequential", "--max-minutes", "1e-9")
    assert figures["questions"] == 1
    assert figures["asked_events"] < figures["events"]
    whole = run(walks, "--protocol", "prequential")
    assert whole["asked_events"] == whole["events"]


def test_questions_that_cannot_be_answered_are_told(tmp_path):
    path = tmp_path / "again.csv"
    path.write_text("user_id,item_id\n" + "".join(f"u{u},{i}\n" for u in range(5) for i in (1, 2, 1 + 2 * (u == 0))))
    arguments = [str(path), "--model", "popularity"]
    assert "4 of the questions ask for an item of the user's own past" in CliRunner().invoke(command, arguments).output
    assert "own past" not in CliRunner().invoke(command, [*arguments, "--include-seen"]).output


def test_an_interrupted_network_goes_on_from_its_last_epoch(walks, tmp_path):
    arguments = (walks, "--model", "gru", "--seed", "3")
    whole = run(*arguments, "--resume", tmp_path / "runs")
    assert (tmp_path / "runs" / "gru" / "checkpoint.safetensors").exists()
    again = run(*arguments, "--resume", tmp_path / "runs")
    assert again["ndcg@10"] == whole["ndcg@10"]
    other = CliRunner().invoke(
        command, [str(walks), "--model", "gru", "--seed", "4", "--resume", str(tmp_path / "runs")]
    )
    assert "other data or settings" in str(other.exception)


def test_the_output_says_what_became_of_the_validation_events(walks):
    for option, says in (("--refit", "then these are learned too"), ("--no-refit", "never learned")):
        assert says in CliRunner().invoke(command, [str(walks), "--model", "popularity", option]).output


@pytest.mark.parametrize(
    ("events", "protocol"),
    [
        ([("a", 1), ("a", 2), ("a", 3)], "loo"),
        ([("a", 1), ("a", 2), ("a", 3)], "temporal"),
        ([("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2), ("b", 3)], "loo"),
        ([(user, 1) for user in "abcdef" for _ in range(5)], "loo"),
        ([("a", place * 7 % 11) for place in range(40)], "temporal"),
    ],
    ids=["one user of three", "one user of three by time", "two users", "one item", "one user"],
)
def test_the_default_model_is_fitted_to_the_smallest_logs(tmp_path, events, protocol):
    path = tmp_path / "small.csv"
    rows = "".join(f"{user},{item},{1_700_000_000 + 86_400 * place}\n" for place, (user, item) in enumerate(events))
    path.write_text("user_id,item_id,ts\n" + rows)
    figures = run(path, "--protocol", protocol, "--max-minutes", "0.2")
    assert (figures["model"], figures["events"]) == ("blend", len(events))
    assert 0.0 <= figures["ndcg@10"] <= 1.0


def test_the_blend_says_how_often_its_network_saw_the_validation_events(walks):
    output = CliRunner().invoke(command, [str(walks), "--max-minutes", "0.5"]).output
    assert "epochs with the validation events" in output
    assert (
        "epochs with the validation events"
        not in CliRunner().invoke(command, [str(walks), "--max-minutes", "0.5", "--no-refit"]).output
    )


def test_a_rival_is_asked_the_same_questions(walks):
    figures = run(walks, "--model", "rules", "--against", "popularity", "--against", "rules")
    low, high = figures["against"]["popularity"]["ndcg@10"]
    assert 0.1 < low < high
    assert figures["against"]["rules"]["ndcg@10"] == [0.0, 0.0]


def test_every_model_has_a_line_of_figures_as_soon_as_it_was_asked(walks):
    arguments = [str(walks), "--model", "rules", "--before-refit", "--against", "popularity"]
    *lines, last = CliRunner().invoke(command, arguments, catch_exceptions=False).stdout.splitlines()
    told = [line for line in lines if "ndcg@10" in line]
    assert [line.partition(":")[0] for line in told] == ["rules", "rules before the validation events", "popularity"]
    figures = json.loads(last)
    for line, its in zip(told, (figures, figures["before_refit"]), strict=False):
        low, high = its["intervals"]["ndcg@10"]
        assert f"ndcg@10 {its['ndcg@10']:.4f} ({low:.4f} to {high:.4f})" in line
    assert lines.index(told[1]) < next(n for n, line in enumerate(lines) if line.startswith("fitted popularity"))


def test_seen_items_may_be_asked_for_again(tmp_path):
    path = tmp_path / "again.csv"
    path.write_text("user_id,item_id\n" + "".join(f"u{u},{i}\n" for u in range(5) for i in (1, 2, 1)))
    assert run(path, "--model", "popularity")["hr@10"] == 0.0
    assert run(path, "--model", "popularity", "--include-seen")["hr@10"] == 1.0


def test_questions_of_few_users_are_told(tmp_path):
    path = tmp_path / "few.csv"
    path.write_text("user_id,item_id\n" + "".join(f"u{u},i{(u + i) % 7}\n" for u in range(3) for i in range(5)))
    result = CliRunner().invoke(command, [str(path), "--model", "popularity"])
    assert "the questions are of 3 users" in result.stderr


@pytest.mark.parametrize("wrong", [4_000_000_000, 1_000_000])
def test_a_wrong_time_that_decides_where_the_log_is_cut_is_told(walks, wrong):
    right = CliRunner().invoke(command, [str(walks), "--model", "popularity", "--protocol", "temporal"])
    assert "are all times right?" not in right.stderr
    walks.write_text(walks.read_text() + f"u3,i4,{wrong}\nu3,i5,{wrong}\n")
    result = CliRunner().invoke(command, [str(walks), "--model", "popularity", "--protocol", "temporal"])
    assert "are all times right?" in result.stderr


def test_times_that_were_missing_are_told(walks):
    walks.write_text(walks.read_text() + "u3,i4,0\nu3,i5,\n")
    result = CliRunner().invoke(command, [str(walks), "--model", "popularity"])
    assert "2 rows without a possible time were given one (interpolate)" in result.stderr


@pytest.mark.parametrize("seed", [-1, 2**70])
def test_a_seed_that_no_generator_takes_is_refused(walks, seed):
    result = CliRunner().invoke(command, [str(walks), "--model", "popularity", "--seed", str(seed)])
    assert result.exit_code == 2
    assert "--seed" in result.stderr


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("user,item\na,1\n", [], "no column user_id or item_id; the columns are user, item"),
        ("user_id,item_id\na,1\n", ["--protocol", "session"], "no column session_id"),
        ("user_id,item_id\na,1\na,2\na,3\n", ["--protocol", "temporal"], "no column ts"),
        ("user_id,item_id\na,1\na,2\n", [], "at least three events"),
        ("user_id,item_id\n", [], "no event"),
        ("user_id,item_id\na,1\n", ["--columns", "user=a"], "--columns"),
        ("user_id,item_id,ts\na,1,1\n", ["--protocol", "prequential", "--model", "blend"], "event by event"),
        ("user_id,item_id,ts\na,1,1\n", ["--protocol", "prequential", "--against", "rules"], "not under prequential"),
        ("user_id,item_id,ts\na,1,1\n", ["--protocol", "prequential", "--no-refit"], "--no-refit: not under"),
        ("user_id,item_id\na,1\n", ["--columns", "user_id=who"], "no column who"),
        ("user_id,item_id\na,1\n", ["--columns", "ts=when"], "no column when"),
        ("user_id,item_id\na,1\n", ["--protocol", "session"], "--columns session_id=COLUMN"),
        ("user_id,item_id\na,1\na,2\na,3\n", ["--drop-cold"], "--drop-cold leaves no question"),
    ],
)
def test_a_users_mistake_is_one_sentence_and_exit_code_two(tmp_path, monkeypatch, capsys, text, options, says):
    path = tmp_path / "log.csv"
    path.write_text(text)
    monkeypatch.setattr(sys, "argv", ["tsrec", "evaluate", "ranking", str(path), *options])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert says in error
    assert len(error.strip().splitlines()) == 1
