"""Errors of the processor, all under one root.

TsrecError
├── UsageError            a user's mistake: one line, exit code 2
├── ContractError         topics or partitions that do not fit together
├── StateError            a table declared or used wrongly
├── BrokerUnavailable     no broker at the address given
└── BrokerRefused         a broker that does not accept this client: certificate, password, rights
"""

from __future__ import annotations

__all__ = ["BrokerRefused", "BrokerUnavailable", "ContractError", "StateError", "TsrecError", "UsageError"]


class TsrecError(Exception):
    """Root: what was wrong, where, and what to do. `exit_code` is what the command line ends with."""

    exit_code = 1


class UsageError(TsrecError):
    """A user's mistake: the command line prints one line and exits with 2."""

    exit_code = 2


class ContractError(TsrecError):
    """Topics, keys or partition counts that do not fit together."""


class StateError(TsrecError):
    """A table declared or used wrongly."""


class BrokerUnavailable(TsrecError):
    """No broker answers at the given address."""

    exit_code = 3


class BrokerRefused(TsrecError):
    """A broker answers, and does not accept this client: certificate, password or rights."""

    exit_code = 3
