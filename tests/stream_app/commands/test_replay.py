"""`tsrec replay`: files of every kind arrive as the contract writes them, each key where Java's clients put it."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from aiokafka.partitioner import DefaultPartitioner

Run = Callable[..., Any]
CSV = """who,what,kind,when
7,i1,pv,1511658000
8,i2,fav,1511658001
7,i3,buy,1511658002
,i4,pv,1511658003
9,i5,pv,soon
"""
FOREIGN = (
    "--field", "user_id=who", "--field", "item_id=what", "--field", "action=kind", "--field", "ts=when",
    "--value", "action:pv=view", "--value", "action:fav=favorite",
)  # fmt: skip


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where kernels are compiled first, nobody is told why it takes long."""
    monkeypatch.setattr("stream_app.commands.replay.PATIENCE_S", 600.0)


@pytest.fixture
def clicks(run: Run, broker: str, request: pytest.FixtureRequest) -> Callable[..., list[Any]]:
    """Replays into fresh topics; gives the outcome and what arrived."""
    prefix = f"r{abs(hash(request.node.nodeid)) % 10**9}{time.monotonic_ns()}."

    def replay(*arguments: object, topic: str = "clicks") -> list[Any]:
        environment = {"TSREC_BOOTSTRAP": broker, "TSREC_TOPIC_PREFIX": prefix}
        run("topics", "create", topic, **environment)
        outcome = run("replay", *arguments, "-t", topic, **environment)
        lines = run("tail", topic, "--raw", "--from", "beginning", "--until-end", **environment).out.splitlines()
        return [outcome, sorted(map(json.loads, lines), key=str)]

    return replay


@pytest.mark.system
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_a_csv_of_a_foreign_source(clicks: Callable[..., list[Any]], tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"clicks{suffix}"
    path.write_bytes(gzip.compress(CSV.encode()) if suffix.endswith("gz") else CSV.encode())
    outcome, records = clicks(path, *FOREIGN)
    assert outcome.code == 1  # what fits has arrived all the same
    assert records == [
        {"user_id": "7", "item_id": "i1", "ts": 1511658000.0, "action": "view"},
        {"user_id": "8", "item_id": "i2", "ts": 1511658001.0, "action": "favorite"},
    ]
    assert "sent 2 records" in outcome.out
    assert "record 3: kind cannot be read: 'buy'" in outcome.err
    assert "record 4: who is missing" in outcome.err
    assert "record 5: when cannot be read: 'soon'" in outcome.err
    assert "3 of 5 rows do not fit the contract" in outcome.err
    assert "accept them with --max-refused 3" in outcome.err


@pytest.mark.system
def test_rows_can_be_chosen_and_fields_set(clicks: Callable[..., list[Any]], tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_text(CSV)
    outcome, records = clicks(
        path, "--field", "user_id=who", "--field", "item_id=what", "--field", "ts=when", "--only", "kind=buy",
        "--skip", "who=", "--set", "quantity=2", topic="purchases",
    )  # fmt: skip
    assert outcome.err == ""
    assert records == [{"user_id": "7", "item_id": "i3", "ts": 1511658002.0, "quantity": 2.0}]


@pytest.mark.system
def test_a_csv_without_a_header(clicks: Callable[..., list[Any]], tmp_path: Path) -> None:
    path = tmp_path / "clicks.tsv"
    path.write_text("u1\ti1\tx\t1.5\nü\ti2\ty\t0.5\n")
    _, records = clicks(path, "--columns", "user_id,item_id,other,ts")
    assert records == [
        {"user_id": "u1", "item_id": "i1", "ts": 1.5},
        {"user_id": "ü", "item_id": "i2", "ts": 0.5},
    ]


@pytest.mark.system
def test_json_lines_with_dates_and_numbers_for_ids(clicks: Callable[..., list[Any]], tmp_path: Path) -> None:
    path = tmp_path / "clicks.jsonl"
    path.write_text(
        '{"visitor":7,"item_id":"i1","ts":"2026-01-02T03:04:05Z","more":{"a":1}}\n\n'
        '{"visitor":"x","item_id":"\\u00e9","ts":"2026-01-02 03:04:05+01:00"}\n{"visitor":1}\n{broken\n'
    )
    outcome, records = clicks(path, "--field", "user_id=visitor", "--time-unit", "iso")
    assert records == [
        {"user_id": "7", "item_id": "i1", "ts": 1767323045.0},
        {"user_id": "x", "item_id": "é", "ts": 1767319445.0},
    ]
    assert "2 of 4 rows do not fit" in outcome.err


@pytest.mark.system
def test_parquet_with_typed_columns(clicks: Callable[..., list[Any]], tmp_path: Path) -> None:
    path = tmp_path / "orders.parquet"
    table = pa.table(
        {
            "customer": pa.array([17850.0, None, 0.0, 12.0]),
            "item_id": ["85123A", "b", "c", "d"],
            "ts": pa.array([1_291_191_960_500, 1, 1, 1_291_191_960_500], pa.timestamp("ms")),
            "price": pa.array([2.55, 1.0, 1.0, None]),
            "quantity": pa.array([6, 1, 1, -1], pa.int64()),
        }
    )
    pyarrow.parquet.write_table(table, path)
    outcome, records = clicks(path, "--field", "user_id=customer", "--skip", "customer=0", topic="purchases")
    assert records == [{"user_id": "17850", "item_id": "85123A", "ts": 1291191960.5, "quantity": 6.0, "price": 2.55}]
    assert "customer is missing" in outcome.err
    assert "$.quantity" in outcome.err


@pytest.mark.system
def test_applications_take_the_columns_that_are_left_as_features(
    clicks: Callable[..., list[Any]], tmp_path: Path
) -> None:
    path = tmp_path / "applications.csv"
    path.write_text("account_id,ts,amount,purpose,empty\na1,1.5,1169,radio,\n")
    _, records = clicks(path, topic="credit-applications")
    features = {"amount": 1169.0, "purpose": "radio", "empty": None}
    assert records == [{"account_id": "a1", "ts": 1.5, "features": features}]


@pytest.mark.system
def test_each_key_goes_to_the_partition_that_kafkas_own_partitioner_names(
    run: Run, clicks: Callable[..., list[Any]], tmp_path: Path
) -> None:
    path = tmp_path / "clicks.csv"
    path.write_text("user_id,item_id,ts\n" + "".join(f"u{k},i,{k}\n" for k in range(200)))
    outcome, records = clicks(path)
    assert len(records) == 200
    prefix = outcome.out.split(" records to ")[1].split("clicks ")[0]
    bootstrap = clicks.__closure__[0].cell_contents  # type: ignore[attr-defined]
    tail = run(
        "tail", "clicks", "--from", "beginning", "--until-end", TSREC_BOOTSTRAP=bootstrap, TSREC_TOPIC_PREFIX=prefix
    )
    partitioner = DefaultPartitioner()
    for line in tail.out.splitlines():
        _, place, key = line.split()[:3]
        assert int(place.split(":")[0]) == partitioner(key.encode(), [0, 1, 2, 3], [0, 1, 2, 3])


@pytest.mark.system
def test_a_rate_and_a_speed_are_kept(clicks: Callable[..., list[Any]], tmp_path: Path) -> None:
    path = tmp_path / "clicks.csv"
    path.write_text("user_id,item_id,ts\n" + "".join(f"u{k},i,{1000 + k}\n" for k in range(100)))
    for arguments in (("--rate", "100"), ("--speed", "100")):
        started = time.monotonic()
        outcome, _ = clicks(path, *arguments)
        assert "sent 100 records" in outcome.out
        assert time.monotonic() - started > 0.95  # never faster than asked; how much slower is the machine's affair
    outcome, _ = clicks(path, "--limit", "7")
    assert "sent 7 records" in outcome.out


def test_a_dry_run_reads_and_checks_without_a_broker(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "clicks.csv"
    path.write_text(CSV)
    outcome = run("replay", path, "-t", "clicks", *FOREIGN, "--skip", "kind=buy", "--dry-run", "--limit", "1")
    assert outcome.code == 0
    assert outcome.err == ""
    assert "read 1 records" in outcome.out


def test_whoever_waits_for_the_first_record_is_told_why(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "clicks.csv"
    path.write_text("user_id,item_id,ts\n" + "".join(f"u{k},i,{k}\n" for k in range(50_000)))
    assert run("replay", path, "-t", "clicks", "--dry-run").err == ""
    monkeypatch.setattr("stream_app.commands.replay.PATIENCE_S", 0.0)
    assert "compiles its kernels" in run("replay", path, "-t", "clicks", "--dry-run").err


@pytest.mark.parametrize(("allowed", "code"), [((), 1), (("--max-refused", 2), 1), (("--max-refused", 3), 0)])
def test_more_refused_rows_than_are_allowed_are_a_failure(
    run: Run, tmp_path: Path, allowed: tuple[object, ...], code: int
) -> None:
    path = tmp_path / "clicks.csv"
    path.write_text(CSV)
    outcome = run("replay", path, "-t", "clicks", *FOREIGN, "--dry-run", *allowed)
    assert outcome.code == code
    assert "read 2 records" in outcome.out
    assert "3 of 5 rows do not fit the contract" in outcome.err
    assert ("the rows that fit were read, 3 were not" in outcome.err) == (code == 1)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("-t", "klicks"), 2, "no topic 'klicks' in the contract"),
        (("-t", "clicks"), 2, "no column 'user_id' for user_id: there are who, what, kind, when; name it with --field"),
        (("-t", "clicks", *FOREIGN, "--only", "color=red"), 2, "no column 'color' to choose rows by"),
        (("-t", "clicks", "--field", "user_id"), 2, "not of the form NAME=TEXT"),
        (("-t", "clicks", "--value", "pv=view"), 2, "not of the form FIELD:THEIRS"),
        (("-t", "clicks", *FOREIGN, "--field", "user=who"), 2, "--field: Click has no field 'user': it has user_id,"),
        (("-t", "clicks", *FOREIGN, "--set", "colour=red"), 2, "--set: Click has no field 'colour'"),
        (("-t", "clicks", *FOREIGN, "--value", "act:pv=view"), 2, "--value: Click has no field 'act'"),
        (("-t", "clicks", *FOREIGN, "--value", "action:buy=bought"), 2, "action is one of view, click, cart, favorite"),
        (("-t", "clicks", "--rate", "1", "--speed", "1"), 2, "exclude each other"),
        (("-t", "dead-letters"), 2, "as they came"),
        (("-t", "clicks", *FOREIGN, "--only", "kind=buy", "--dry-run"), 1, "no row fits the contract of clicks"),
        (("-t", "clicks", *FOREIGN), 3, "no broker answers at 127.0.0.1:1"),
    ],
)
def test_a_mistake_is_told_in_a_line(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    path = tmp_path / "clicks.csv"
    path.write_text(CSV)
    outcome = run("replay", path, *arguments, TSREC_BOOTSTRAP="127.0.0.1:1")
    assert outcome.code == code
    assert message in outcome.err


def test_files_that_cannot_be_read_are_named(run: Run, tmp_path: Path) -> None:
    for name, text in (
        ("a.xlsx", b""),
        ("a.parquet", b"no"),
        ("a.csv.gz", b"no"),
        ("a.csv", b"a,b\n1\n"),
        ("a.csv", b""),
    ):
        path = tmp_path / name
        path.write_bytes(text)
        outcome = run("replay", path, "-t", "clicks", "--dry-run")
        assert outcome.code == 2, name
        assert name in outcome.err
        assert outcome.err.count("\n") == 1
