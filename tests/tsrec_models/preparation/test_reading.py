import datetime
import gzip

import pyarrow as pa
import pyarrow.parquet
import pytest

from tsrec_models.preparation import Log, LogError
from tsrec_models.preparation.reading import log_from_records, read_log

ROWS = "user_id,item_id,ts\nb,007,20\na,7,5\nb,8,10\n"


def write(tmp_path, name, text):
    path = tmp_path / name
    data = text.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz", "log.tsv"])
def test_delimited_files_keep_ids_as_text(tmp_path, name):
    text = ROWS.replace(",", "\t") if "tsv" in name else ROWS
    log = Log.from_file(write(tmp_path, name, text))
    assert log.item_ids.tolist() == ["007", "7", "8"]
    assert log.items.tolist() == [2, 0, 1]
    assert log.times.tolist() == [10.0, 20.0, 5.0]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_of_a_csv_file_is_told_by_its_first_line(tmp_path, delimiter):
    path = tmp_path / "log.csv"
    rows = [("user_id", "item_id", "ts"), ("ann", "a, b" if delimiter == ";" else "ab", "5")]
    path.write_text("\n".join(delimiter.join(row) for row in rows), encoding="utf-8-sig")
    log = read_log(path).log
    assert log.item_ids.tolist() == [rows[1][1]]
    assert log.times.tolist() == [5.0]


@pytest.mark.parametrize("name", ["log.jsonl", "log.jsonl.gz"])
def test_json_lines(tmp_path, name):
    text = '{"user_id": "b", "item_id": 3, "ts": 2.5}\n{"user_id": "b", "item_id": 1, "ts": 1}\n'
    log = Log.from_file(write(tmp_path, name, text))
    assert log.item_ids[log.items].tolist() == ["1", "3"]
    assert log.times.tolist() == [1.0, 2.5]


def test_parquet_with_timestamps_and_other_names(tmp_path):
    times = pa.array([1_300_000_000_500, 1_300_000_000_000], type=pa.timestamp("ms"))
    pa.parquet.write_table(pa.table({"who": [1, 1], "what": ["x", "y"], "when": times}), tmp_path / "log.parquet")
    log = Log.from_file(tmp_path / "log.parquet", user="who", item="what", ts="when")
    assert log.times.tolist() == [1_300_000_000.0, 1_300_000_000.5]


def test_a_file_without_times_is_in_order_of_time(tmp_path):
    log = Log.from_file(write(tmp_path, "log.csv", "user_id,item_id\na,2\na,1\n"))
    assert not log.has_times
    assert log.item_ids[log.items].tolist() == ["2", "1"]


@pytest.mark.parametrize("scale", [1, 1_000, 1_000_000, 1_000_000_000])
def test_seconds_and_finer_units_are_told_apart_by_size(tmp_path, scale):
    log = Log.from_file(write(tmp_path, "log.csv", f"user_id,item_id,ts\na,1,{1_400_000_000 * scale}\n"))
    assert log.times.tolist() == [1_400_000_000.0]


@pytest.mark.parametrize("when", ["2014-05-13T16:53:20Z", "2014-05-13 16:53:20", "2014-05-13T18:53:20+02:00"])
def test_iso_times(tmp_path, when):
    log = Log.from_file(write(tmp_path, "log.csv", f"user_id,item_id,ts\na,1,{when}\n"))
    assert log.times.tolist() == [1_400_000_000.0]


def test_rows_without_user_or_item_are_dropped_and_counted(tmp_path):
    reading = read_log(write(tmp_path, "log.csv", "user_id,item_id,ts\na,1,1\n,2,2\na,,3\nb,3,4\n"))
    assert reading.dropped == {"without user or item": 2}
    assert reading.log.item_ids.tolist() == ["1", "3"]


def test_missing_times_are_interpolated_or_dropped_as_asked(tmp_path):
    path = write(tmp_path, "log.csv", "user_id,item_id,ts\na,1,10\na,2,\na,3,30\n")
    assert read_log(path).log.times.tolist() == [10.0, 20.0, 30.0]
    assert read_log(path).dropped == {}
    dropped = read_log(path, missing_times="drop")
    assert dropped.log.times.tolist() == [10.0, 30.0]
    assert dropped.dropped == {"without time": 1}


@pytest.mark.parametrize("impossible", ["0", "inf", "-inf", "1e308", "9000000000000000"])
def test_impossible_times_are_missing_times(tmp_path, impossible):
    rows = "".join(f"a,{item},{when}\n" for item, when in enumerate((1_400_000_000, impossible, 1_400_000_020)))
    reading = read_log(write(tmp_path, "log.csv", "user_id,item_id,ts\n" + rows))
    assert reading.log.times.tolist() == [1_400_000_000.0, 1_400_000_010.0, 1_400_000_020.0]
    assert reading.filled == 1
    assert reading.log.items.tolist() == [0, 1, 2]


def test_times_near_the_largest_number_are_read_without_a_warning(tmp_path, recwarn):
    rows = "".join(f"a,{item},{when}\n" for item, when in enumerate((1_400_000_000, "1e308", "1e308", 1_400_000_020)))
    assert read_log(write(tmp_path, "log.csv", "user_id,item_id,ts\n" + rows)).filled == 2
    assert not recwarn.list


def test_a_log_may_count_its_seconds_from_zero(tmp_path):
    reading = read_log(write(tmp_path, "log.csv", "user_id,item_id,ts\na,1,0\na,2,60\na,3,90\n"))
    assert reading.log.times.tolist() == [0.0, 60.0, 90.0]
    assert reading.filled == 0


def test_a_folder_is_said_to_be_one(tmp_path):
    with pytest.raises(LogError, match="is a folder"):
        read_log(tmp_path)


def test_extra_columns_follow_the_rows_of_the_log(tmp_path):
    path = write(tmp_path, "log.csv", "user_id,item_id,ts,price\nb,1,9,9.5\na,2,5,2\nb,3,1,7\n")
    reading = read_log(path, extra=("price",))
    assert reading.log.item_ids[reading.log.items].tolist() == ["3", "1", "2"]
    assert reading.extra["price"].tolist() == ["7", "9.5", "2"]


def test_records_of_a_topic():
    log = log_from_records([b'{"user_id":"a","item_id":"x","ts":2}', b'{"user_id":"a","item_id":"y","ts":1}'])
    assert log.item_ids[log.items].tolist() == ["y", "x"]
    assert len(log_from_records([])) == 0


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("log.csv", "user,item_id\na,1\n", "no column user_id; the columns are user, item_id"),
        ("log.csv", "user,item\na,1\n", "no column user_id or item_id"),
        ("log.csv", "", "empty"),
        ("log.csv", "user_id,item_id,ts\na,1,yesterday\n", "column ts"),
        ("log.csv", "user_id,item_id\na,1\na,1,5\n", "2 columns, got 3"),
        ("log.csv", "user_id,item_id,user_id\na,1,b\n", "2 columns are called user_id"),
        ("log.jsonl", "not json\n", "JSON"),
        ("log.json", '[{"user_id":"a","item_id":"x"}]', "one JSON object a line"),
        ("log.jsonl", '{"user_id":"a","item_id":"x","ts":{"at":1}}\n', "not a time"),
        ("log.jsonl", '{"user_id":{"id":1},"item_id":"x"}\n', "column user_id holds struct.*, which is not an id"),
        ("log.csv", f"user_id,item_id,ts\na,1,{10**25}\n", "no time of any year before 5138"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, name, text, says):
    with pytest.raises(LogError, match=says):
        Log.from_file(write(tmp_path, name, text))


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(LogError, match="no such file"):
        Log.from_file(tmp_path / "nowhere.csv")


def test_text_that_is_not_utf8_is_said(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes("user_id,item_id,größe\na,1,2\n".encode("latin-1"))
    with pytest.raises(LogError, match="UTF-8"):
        read_log(path)
    path.write_bytes("user_id,item_id\na,größe\n".encode("latin-1"))
    with pytest.raises(LogError, match="UTF8"):
        read_log(path)


def test_an_empty_column_of_times_is_none_at_all(tmp_path):
    log = read_log(write(tmp_path, "log.csv", "user_id,item_id,ts\na,1,\na,2,\n")).log
    assert not log.has_times
    assert log.items.tolist() == [0, 1]


def test_ids_keep_spaces_quotes_and_letters_of_any_script(tmp_path):
    path = write(tmp_path, "log.csv", 'user_id,item_id\n"Ann, B",007\nÅsa 7,"7"" pan"\nÅsa 7,お茶\n')
    log = read_log(path).log
    assert log.user_ids.tolist() == ["Ann, B", "Åsa 7"]
    assert log.item_ids.tolist() == ["007", '7" pan', "お茶"]


def test_times_of_a_parquet_file_may_be_dates_or_categories(tmp_path):
    when = pa.array([datetime.date(2024, 1, 2), datetime.date(2024, 1, 1)])
    for column in (when, pa.array(["2024-01-02", "2024-01-01"]).dictionary_encode()):
        pa.parquet.write_table(
            pa.table({"user_id": ["a", "a"], "item_id": [1, 2], "ts": column}), tmp_path / "l.parquet"
        )
        assert read_log(tmp_path / "l.parquet").log.times.tolist() == [1704067200.0, 1704153600.0]
