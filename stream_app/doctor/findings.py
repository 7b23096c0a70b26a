"""What a check says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Finding", "Severity", "counted", "error", "ok", "warning", "worst"]

Severity = Literal["ok", "warning", "error"]

_ORDER: tuple[Severity, ...] = ("ok", "warning", "error")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. check: its name, for machines; advice: what to do, empty where all is well."""

    check: str
    severity: Severity
    message: str
    advice: str = ""
    figures: dict[str, Any] = field(default_factory=dict)


def ok(check: str, message: str, **figures: Any) -> Finding:
    """All is well."""
    return Finding(check, "ok", message, "", figures)


def warning(check: str, message: str, advice: str, **figures: Any) -> Finding:
    """It works, and somebody should look at it."""
    return Finding(check, "warning", message, advice, figures)


def error(check: str, message: str, advice: str, **figures: Any) -> Finding:
    """It does not work, or loses something."""
    return Finding(check, "error", message, advice, figures)


def worst(findings: Iterable[Finding]) -> Severity:
    """The gravest severity among findings."""
    return max((finding.severity for finding in findings), key=_ORDER.index, default="ok")


def counted(n: int, noun: str) -> str:
    """`1 worker`, `2 workers`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
