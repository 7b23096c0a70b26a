"""CSV files as they come."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from tsrec_models.base import ModelError
from tsrec_models.evaluation.reading import number, read_table_of_text


@pytest.mark.parametrize(
    ("text", "comma", "value"),
    [("1.5", False, 1.5), (" -2e3 ", False, -2000.0), ("1,234.5", False, 1234.5), ("1,234,567", False, 1234567.0),
     ("1,5", True, 1.5), ("1.234,5", True, 1234.5), ("1.234.567", True, 1234567.0), ("1.234", True, 1.234),
     ("-,5", True, -0.5), ("2,5e3", True, 2500.0)],
)  # fmt: skip
def test_numbers_are_read_as_they_are_written(text: str, comma: bool, value: float) -> None:
    assert number(text, comma) == value


@pytest.mark.parametrize("text", ["", "x", "1,5", "12,34.5", "1.2.3", "$5"])
def test_what_is_no_number_is_none(text: str) -> None:
    assert np.isnan(number(text))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_mark_delimiter_and_empty_lines_do_not_matter(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "a.csv.gz"
    with gzip.open(path, "wt", encoding="utf-8-sig") as file:
        file.write(f"\na{delimiter}b\r\n1{delimiter}2\r\n\r\n3\r\n")
    table = read_table_of_text(path)
    assert table.header == ["a", "b"]
    assert table.column(0) == ["1", "3"]
    assert table.column(1) == ["2", ""]
    assert table.lines == [3, 5]


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\x1f\x8b\x08broken"])
def test_a_file_that_is_none_is_told(tmp_path: Path, content: bytes) -> None:
    for name in ("a.csv", "a.csv.gz"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match="cannot be read as a CSV file"):
            read_table_of_text(tmp_path / name)
    with pytest.raises(ModelError, match="No such file"):
        read_table_of_text(tmp_path / "none.csv")
