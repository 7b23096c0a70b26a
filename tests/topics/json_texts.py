"""JSON text as sources really write it, and as it breaks, written by a seeded generator: thousands a second."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence

__all__ = ["Writer", "choice", "mostly"]

SPACES = ("", "", "", "", " ", "\n", "\t ", "\r\n  ")
ESCAPES = (
    "\\n", '\\"', "\\\\", "\\/", "\\b", "\\f", "\\r", "\\t", "\\u00e9", "\\u0000", "\\ud83d\\ude00", "\\ud800",
    "\\udc00", "\\ud800\\u0041", "\\x", "\\u12g4", "\\u12", "\\uD800\\uDBFF",
)  # fmt: skip
NUMBERS = (
    "NaN", "Infinity", "-Infinity", "01", "1.", ".5", "-", "+1", "1e", "1e+", "-0", "-0.0", "0e0", "1e400", "1e-400",
    "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809",
    "18446744073709551616", "9007199254740993", "9007199254740993.0", "0x10", "1_000", "1.0", "2.0e0", "1e2",
    "100000000000", "99999999999.99999", "0.30000000000000004", "5e-324", "2.2250738585072014e-308", "0.0e99999",
)  # fmt: skip
CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789 -_.:/'é߿ࠀ€\U0001f600\U0010ffff\x7f"

Value = Callable[["Writer"], str]


class Writer(random.Random):
    """Draws texts; every method returns one. `iso` is for the caller: whether times are dates."""

    iso = False

    def text(self, longest: int = 20) -> str:
        """Characters that need no escape."""
        length = self.randrange(longest + 1)
        return "".join(self.choices(CHARACTERS, k=length))

    def string(self) -> str:
        """A quoted string; one in twelve has an escape, right or wrong."""
        text = self.text()
        if self.random() < 0.08:
            at = self.randrange(len(text) + 1)
            text = text[:at] + self.choice(ESCAPES[:11] if self.random() < 0.7 else ESCAPES) + text[at:]
        return f'"{text}"'

    def number(self) -> str:
        """Numbers as Python prints them, with long mantissas and big exponents, and of wrong grammar."""
        how = self.randrange(1, 7)
        if self.random() < 0.03:
            return self.choice(NUMBERS)
        if how == 1:
            return repr(self.uniform(0, 10 ** self.randrange(12)))
        if how == 2:
            return str(self.randrange(-(2 ** self.randrange(1, 70)), 2 ** self.randrange(1, 70)))
        if how == 3:
            return str(self.randrange(2_000_000_000))
        if how == 4:
            return f"{self.uniform(0, 2e9):.{self.randrange(1, 9)}f}"
        text = ("-" if self.random() < 0.3 else "") + str(self.randrange(10 ** self.randrange(1, 22)))
        if self.random() < 0.6:
            text += "." + "".join(self.choices("0123456789", k=self.randrange(1, 22)))
        if self.random() < 0.5:
            text += self.choice("eE") + self.choice(("", "+", "-")) + str(self.randrange(10 ** self.randrange(1, 4)))
        return text

    def value(self, depth: int = 3) -> str:
        """Any value, nested ones among them, some very deeply."""
        how = self.randrange(10)
        if how < 3:
            return self.string()
        if how < 5:
            return self.number()
        if how < 7 or depth == 0:
            return self.choice(("true", "false", "null") * 30 + ("nul", "True", "", "fals"))
        space = self.choice(SPACES)
        if how == 7:
            levels = self.randrange(1, 70)
            return '{"a":[' * levels + "1" + "]}" * levels if self.random() < 0.3 else "[[]]"
        if how == 8:
            parts = [self.value(depth - 1) for _ in range(self.randrange(4))]
            return "[" + space + (space + "," + space).join(parts) + space + "]"
        pairs = [f"{self.string()}{space}:{self.value(depth - 1)}" for _ in range(self.randrange(4))]
        return "{" + space + ("," + space).join(pairs) + space + "}"

    def object(self, fields: Mapping[str, Value]) -> bytes:
        """A record with most of `fields` (name -> its values) in any order, with unknown and repeated ones."""
        names = list(fields)
        if self.random() < 0.5:
            self.shuffle(names)
        if self.random() < 0.3:
            names = [name for name in names if self.random() < 0.95]
        if self.random() < 0.15 and names:
            names.append(self.choice(names))
        members = []
        for name in names:
            odd = self.random()
            value = self.value() if odd < 0.02 else "null" if odd < 0.05 else fields[name](self)
            members.append((json.dumps(name), value))
        for _ in range(self.choice((0, 0, 1, 2))):
            members.insert(self.randrange(len(members) + 1), (self.string(), self.value()))
        a, b, c = (self.choice(SPACES) for _ in range(3))
        text = b + "{" + a + (a + "," + b).join(f"{k}{b}:{c}{v}" for k, v in members) + c + "}" + b
        return text.encode("utf-8")

    def broken(self, text: bytes) -> bytes:
        """The record cut off, with bytes changed, put in or taken out, or with something before or after it."""
        record = bytearray(text)
        for _ in range(self.choice((1, 1, 2))):
            at = self.randrange(len(record) + 1)
            how = self.randrange(7)
            byte = self.choice((self.randrange(256), self.choice(b'"\\{}[],:0 \x00\xff\xc0\xed')))
            if how == 0:
                del record[at:]
            elif how == 1:
                record.insert(at, byte)
            elif how == 2:
                record[at : at + 1] = bytes([byte])
            elif how == 3:
                del record[at : at + 1]
            elif how == 4:
                record[:0] = self.choice((b"\xef\xbb\xbf", b" ", b"\x00", b"[", b"{"))
            elif how == 5:
                record[at:at] = record[self.randrange(len(record) + 1) :][:10]
            else:
                record += self.choice((b"x", b"}", b"\x00", b" ", b"{}", b"\n", b","))
        return bytes(record)


def choice(texts: Sequence[str]) -> Value:
    """A value that is one of `texts`."""
    return lambda writer: writer.choice(texts)


def mostly(usual: Value, rare: Value) -> Value:
    """`rare` once in thirty, else `usual`."""
    return lambda writer: (rare if writer.random() < 0.03 else usual)(writer)
