"""CSV files as they come: a byte-order mark, semicolons, decimal commas, thousands set apart, gzip."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from tsrec_models.base import ModelError

__all__ = ["MISSING", "Table", "number", "read_table_of_text"]

#: What stands for no value, in small letters.
MISSING = {"", "na", "n/a", "nan", "null", "none", "-", "."}
_DELIMITERS = ",;\t"
_GROUPED = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")
_GROUPED_BY_POINTS = re.compile(r"[+-]?\d{1,3}(\.\d{3})+(,\d*)?")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Table:
    """A file's cells as they are written: names of the columns, rows, and the line in the file of each row."""

    header: list[str]
    rows: list[list[str]]
    lines: list[int]
    decimal_comma: bool  #: the file separates columns by semicolons, so that a comma is free for decimals

    def column(self, at: int) -> list[str]:
        """Cells of one column, stripped; empty where a row is short."""
        return [row[at].strip() if at < len(row) else "" for row in self.rows]


def read_table_of_text(path: Path) -> Table:
    """A CSV file (or .gz) with a header; empty lines are left out.

    Raises ModelError for what cannot be read.
    """
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8-sig", newline="")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8-sig", newline="") as file
        ):
            text = file.read()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: cannot be read as a CSV file ({error})") from error
    first = text.lstrip("\r\n").partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header: list[str] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if not header:
                header = [name.strip() for name in row]
            else:
                rows.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise ModelError(f"{path}, line {reader.line_num}: cannot be read as a CSV file ({error})") from error
    return Table(header, rows, lines, delimiter == ";")


def number(text: str, decimal_comma: bool = False) -> float:
    """The number that a cell says, NaN where it says none; 1,234.5 has its thousands set apart."""
    text = text.strip()
    if decimal_comma and _GROUPED_BY_POINTS.fullmatch(text) and (text.count(".") > 1 or "," in text):
        text = text.replace(".", "")
    if decimal_comma and _DECIMAL_COMMA.fullmatch(text):
        text = text.replace(",", ".")
    elif _GROUPED.fullmatch(text):
        text = text.replace(",", "")
    try:
        return float(text)
    except ValueError:
        return float("nan")
