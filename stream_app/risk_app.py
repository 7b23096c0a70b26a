"""The risk desk put together: market risk, account risk, credit and alerts on the topics of an application."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from stream_app.agents.account_risk import CHANNEL as ACCOUNTS
from stream_app.agents.account_risk import AccountRisk, Rekey
from stream_app.agents.account_state import account_columns, population_columns, traded_columns
from stream_app.agents.alert_rows import alert_columns
from stream_app.agents.alerts import AlertActions, Alerts
from stream_app.agents.bar_signals import BarSignals
from stream_app.agents.credit import Credit
from stream_app.agents.market_risk import CHANNEL as MARKET
from stream_app.agents.market_risk import MarketRisk, bar_models, model_columns, symbol_columns, time_bars
from stream_app.agents.portfolio_risk import CHANNEL as PORTFOLIOS
from stream_app.agents.portfolio_risk import PortfolioRisk, portfolio_rules, scenario_columns
from stream_app.agents.refits import Refits
from stream_app.batch import BatchTopic
from stream_app.inference import Inference
from stream_app.metrics import Metrics
from stream_app.processor import Processor
from stream_app.settings import CreditSettings, Settings
from tsrec_models.risk import surveillance_settings as surveillance
from tsrec_models.risk.bar_models import ES_LEVEL, LEVELS, BarModels
from tsrec_models.risk.credit import CreditScorer
from tsrec_models.risk.fhs import FilteredHistoricalSimulation
from tsrec_models.risk.market_watch import MarketWatch

__all__ = ["RiskDesk", "risk_desk"]


@dataclass
class RiskDesk:
    """What others need of the risk side: the alerts that are open, and who is gated by them (`alerts.gate`)."""

    alerts: Alerts
    market: MarketRisk
    accounts: AccountRisk
    credit: Credit | None
    portfolios: PortfolioRisk | None = None


def risk_desk(
    app: Processor, topics: Mapping[str, BatchTopic], settings: Settings, metrics: Metrics, inference: Inference
) -> RiskDesk:
    """Declare the tables of the risk side and register its agents. `topics` are those of the contract, by our names.

    Raises:
        ModelError: a setting that the models cannot work with, or a credit model that is not there.
    """
    trades, by_account, actions = topics["trades"], topics["trades-by-account"], topics["alert-actions"]
    limits = surveillance.Settings(**settings.surveillance.model_dump())
    bars, models = time_bars(settings.market), bar_models(settings.market)
    signals = BarSignals(settings.market, models)
    watched = limits.rules()
    rules = {
        MARKET: signals.rules() + [rule for rule in watched if rule.kind in surveillance.SYMBOL_KINDS],
        ACCOUNTS: [rule for rule in watched if rule.kind in surveillance.ACCOUNT_KINDS],
    }
    if settings.portfolio.enabled:
        rules[PORTFOLIOS] = portfolio_rules()
    bars_of_symbols = topics["symbol-bars"] if settings.portfolio.enabled else None
    # Rows go to the changelogs in this order: what can tell a repetition first, what decides that it is none last.
    alerts = Alerts(
        app.columnar_table("alerts", alert_columns(), sources=[trades, by_account, actions]),
        topics["risk-alerts"], rules, settings.alerts, metrics,
    )  # fmt: skip
    alerts.table.on_recover(alerts.rebuild)
    app.checkpoint.before_cut.append(alerts.write_back)
    market = MarketRisk(
        models=app.columnar_table("symbol-models", model_columns(models), sources=[trades]),
        symbols=app.columnar_table("symbols", symbol_columns(bars), sources=[trades]),
        forecasts=topics["forecasts"], bar_topic=bars_of_symbols, alerts=alerts, bars=bars, bar_models=models,
        watch=MarketWatch(limits),
        signals=signals, refits=Refits(settings.market.refit_processes, inference, metrics), inference=inference,
        metrics=metrics,
    )  # fmt: skip
    app.checkpoint.before_cut.append(market.watched.judge)
    app.process(trades)(market)
    app.process(trades)(Rekey(by_account))
    accounts = AccountRisk(
        traded=app.columnar_table("traded-symbols", traded_columns(), sources=[by_account]),
        population=app.columnar_table("account-population", population_columns(), sources=[by_account]),
        accounts=app.columnar_table("accounts", account_columns(by_account.partitions), sources=[by_account]),
        settings=limits, alerts=alerts,
    )  # fmt: skip
    app.process(by_account)(accounts)
    app.checkpoint.before_cut.append(accounts.write_back)
    portfolios = None
    if bars_of_symbols is not None:
        portfolios = _portfolios(app, bars_of_symbols, topics["account-risk"], settings, models, accounts, inference, metrics)
    app.process(actions)(AlertActions(alerts, actions))
    credit = None
    if settings.credit.model is not None:
        credit = _credit(settings.credit, settings.credit.model, topics["credit-scores"], metrics, inference)
        app.process(topics["credit-applications"])(credit)
    return RiskDesk(alerts, market, accounts, credit, portfolios)


def _portfolios(
    app: Processor,
    bars: BatchTopic,
    output: BatchTopic,
    settings: Settings,
    models: BarModels,
    accounts: AccountRisk,
    inference: Inference,
    metrics: Metrics,
) -> PortfolioRisk:
    simulation = FilteredHistoricalSimulation(models.settings.window, LEVELS, ES_LEVEL)
    portfolios = PortfolioRisk(
        scenarios=app.columnar_table("scenarios", scenario_columns(simulation), sources=[bars]),
        simulation=simulation, accounts=accounts, output=output, alerts=accounts.alerts, settings=settings.portfolio,
        bar_s=settings.market.bar_s, inference=inference, metrics=metrics,
    )  # fmt: skip
    app.process(bars)(portfolios)
    return portfolios


def _credit(
    settings: CreditSettings, folder: Path, output: BatchTopic, metrics: Metrics, inference: Inference
) -> Credit:
    scorer = CreditScorer.load(folder)
    version = f"credit-{sha256((folder / 'credit.json').read_bytes()).hexdigest()[:8]}"
    metrics.model.labels("credit", version).set(1)
    return Credit(
        scorer=scorer, version=version, output=output, inference=inference, metrics=metrics, settings=settings
    )
