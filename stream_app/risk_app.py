"""The risk desk put together: market risk, account risk, credit and alerts on the topics of an application."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from stream_app.agents.account_risk import CHANNEL as ACCOUNTS
from stream_app.agents.account_risk import AccountRisk, Rekey
from stream_app.agents.account_state import account_columns, population_columns, traded_columns
from stream_app.agents.alert_rows import alert_columns
from stream_app.agents.alerts import AlertActions, Alerts
from stream_app.agents.bar_anomalies import BarAnomalies, anomaly_columns
from stream_app.agents.bar_signals import BarSignals
from stream_app.agents.card_fraud import CHANNEL as FRAUD
from stream_app.agents.card_fraud import WATCHED_INPUTS, CardFraud, fraud_rules, merchant_columns
from stream_app.agents.card_side import CardLabels, CardPayments, card_columns
from stream_app.agents.credit import CHANNEL as CREDIT
from stream_app.agents.credit import Credit
from stream_app.agents.demand_counts import DemandCounts, count_columns
from stream_app.agents.demand_forecasts import DemandForecasts, demand_columns
from stream_app.agents.demand_forecasts import clock_columns as demand_clock_columns
from stream_app.agents.input_drift import InputDrift, drift_columns, drift_rule
from stream_app.agents.market_risk import CHANNEL as MARKET
from stream_app.agents.market_risk import MarketRisk, bar_models, model_columns, symbol_columns, time_bars
from stream_app.agents.payment_clocks import CLOCKS_S, Ends, PaymentClocks, PaymentTimer
from stream_app.agents.payment_order import PaymentOrder, clock_columns, held_columns
from stream_app.agents.portfolio_risk import CHANNEL as PORTFOLIOS
from stream_app.agents.portfolio_risk import PortfolioRisk, portfolio_rules, scenario_columns
from stream_app.agents.refits import Refits
from stream_app.batch import BatchTopic
from stream_app.inference import Inference
from stream_app.metrics import Metrics
from stream_app.processor import Processor
from stream_app.settings import Settings
from stream_app.settings_risk import CreditSettings, FraudSettings
from stream_app.settings_shop import DemandSettings
from tsrec_models.risk import surveillance_settings as surveillance
from tsrec_models.risk.bar_models import ES_LEVEL, LEVELS, BarModels
from tsrec_models.risk.credit import CreditScorer
from tsrec_models.risk.drift_panel import DriftPanel, Reference
from tsrec_models.risk.fhs import FilteredHistoricalSimulation
from tsrec_models.risk.fraud_model import FraudModel
from tsrec_models.risk.market_watch import MarketWatch

__all__ = ["RiskDesk", "risk_desk"]

DAY_S = 86_400.0


@dataclass
class RiskDesk:
    """What others need of the risk side: the alerts that are open, and who is gated by them (`alerts.gate`)."""

    alerts: Alerts
    market: MarketRisk
    accounts: AccountRisk
    credit: Credit | None
    portfolios: PortfolioRisk | None = None
    fraud: CardFraud | None = None


def risk_desk(
    app: Processor, topics: Mapping[str, BatchTopic], settings: Settings, metrics: Metrics, inference: Inference
) -> RiskDesk:
    """Declare the tables of the risk side and register its agents. `topics` are those of the contract, by our names.

    Raises:
        ModelError: a setting that the models cannot work with, or a credit model that is not there.
    """
    trades, by_account, actions = topics["trades"], topics["trades-by-account"], topics["alert-actions"]
    limits = surveillance.Settings(**settings.surveillance.model_dump(exclude={"account_retention_days"}))
    bars, models = time_bars(settings.market), bar_models(settings.market)
    signals = BarSignals(settings.market, models)
    watched = limits.rules()
    anomalies = BarAnomalies(app.columnar_table("bar-anomalies", anomaly_columns(), sources=[trades]), settings.market)
    rules = {
        MARKET: signals.rules()
        + anomalies.rules()
        + [rule for rule in watched if rule.kind in surveillance.SYMBOL_KINDS],
        ACCOUNTS: [rule for rule in watched if rule.kind in surveillance.ACCOUNT_KINDS],
    }
    if settings.portfolio.enabled:
        rules[PORTFOLIOS] = portfolio_rules()
    fraud_model = FraudModel.load(settings.fraud.model) if settings.fraud.model is not None else None
    if fraud_model is not None:
        rules[FRAUD] = fraud_rules()
    scorer = CreditScorer.load(settings.credit.model) if settings.credit.model is not None else None
    if scorer is not None:
        rules[CREDIT] = [drift_rule()]
    bars_of_symbols = topics["symbol-bars"] if settings.portfolio.enabled else None
    alerts = Alerts(
        app.columnar_table("alerts", alert_columns(), sources=[trades, by_account, actions]),
        topics["risk-alerts"], rules, settings.alerts, metrics,
    )  # fmt: skip
    alerts.table.on_recover(alerts.rebuild)
    app.checkpoint.before_cut.append(alerts.write_back)
    refits = Refits(settings.market.refit_processes, inference, metrics)
    market = MarketRisk(
        models=app.columnar_table("symbol-models", model_columns(models), sources=[trades]),
        symbols=app.columnar_table("symbols", symbol_columns(bars), sources=[trades]),
        forecasts=topics["forecasts"], bar_topic=bars_of_symbols, alerts=alerts, bars=bars, bar_models=models,
        watch=MarketWatch(limits), signals=signals, anomalies=anomalies,
        refits=refits, inference=inference, metrics=metrics,
    )  # fmt: skip
    app.checkpoint.before_cut.append(market.watched.judge)
    app.process(trades)(market)
    app.process(trades)(Rekey(by_account))
    accounts = AccountRisk(
        traded=app.columnar_table("traded-symbols", traded_columns(), sources=[by_account]),
        population=app.columnar_table("account-population", population_columns(), sources=[by_account]),
        accounts=app.columnar_table(
            "accounts", account_columns(by_account.partitions), sources=[by_account],
            retention_s=settings.surveillance.account_retention_days * DAY_S,
        ),
        settings=limits, alerts=alerts,
    )  # fmt: skip
    app.process(by_account)(accounts)
    app.checkpoint.before_cut.append(accounts.write_back)
    portfolios = None
    if bars_of_symbols is not None:
        portfolios = _portfolios(
            app, bars_of_symbols, topics["account-risk"], settings, models, accounts, inference, metrics
        )
    app.process(actions)(AlertActions(alerts, actions))
    credit = fraud = None
    if scorer is not None and settings.credit.model is not None:
        credit = _credit(app, topics, settings.credit, settings.credit.model, scorer, alerts, metrics, inference)
    if fraud_model is not None and settings.fraud.model is not None:
        fraud = _fraud(app, topics, settings.fraud, settings.fraud.model, fraud_model, alerts, metrics, inference)
    if settings.demand.enabled:
        _demand(app, topics, settings.demand, refits, metrics)
    return RiskDesk(alerts, market, accounts, credit, portfolios, fraud)


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


def _demand(
    app: Processor, topics: Mapping[str, BatchTopic], settings: DemandSettings, refits: Refits, metrics: Metrics
) -> None:
    """Demand of items: counted beside purchases, forecast by item; nothing of it is asked by recommendations."""
    purchases, counts = topics["purchases"], topics["item-counts"]
    retention_s = 2.0 * settings.windows * settings.window_s
    table = app.columnar_table("demand-counts", count_columns(), sources=[purchases], retention_s=retention_s)
    app.process(purchases)(DemandCounts(table, counts, settings))
    columns = demand_columns(purchases.partitions, settings.windows)
    app.process(counts)(
        DemandForecasts(
            demand=app.columnar_table("item-demand", columns, sources=[counts], retention_s=retention_s),
            clock=app.columnar_table("demand-clock", demand_clock_columns(purchases.partitions), sources=[counts]),
            forecasts=topics["forecasts"], refits=refits, settings=settings, metrics=metrics,
        )
    )  # fmt: skip


def _credit(
    app: Processor,
    topics: Mapping[str, BatchTopic],
    settings: CreditSettings,
    folder: Path,
    scorer: CreditScorer,
    alerts: Alerts,
    metrics: Metrics,
    inference: Inference,
) -> Credit:
    version = _version("credit", folder / "credit.json")
    metrics.model.labels("credit", version).set(1)
    source = topics["credit-applications"]
    drift = _drift(app, "credit", version, scorer.inputs, settings.drift_window, source, metrics)
    credit = Credit(
        scorer=scorer, version=version, output=topics["credit-scores"], inference=inference, metrics=metrics,
        settings=settings, drift=drift, alerts=alerts,
    )  # fmt: skip
    app.process(source)(credit)
    return credit


def _fraud(
    app: Processor,
    topics: Mapping[str, BatchTopic],
    settings: FraudSettings,
    folder: Path,
    model: FraudModel,
    alerts: Alerts,
    metrics: Metrics,
    inference: Inference,
) -> CardFraud:
    version = _version("fraud", folder / "fraud.json")
    metrics.model.labels("fraud", version).set(1)
    paid, labels, by_merchant = (
        topics[name] for name in ("card-transactions", "fraud-labels", "transactions-by-merchant")
    )
    retention_s = settings.retention_days * DAY_S
    cards = app.columnar_table("cards", card_columns(), sources=[paid, labels], retention_s=retention_s)
    clocks = PaymentClocks(Ends(app), paid, by_merchant)
    app.process(paid)(CardPayments(cards, by_merchant, clocks))
    app.process(labels)(CardLabels(cards, by_merchant))
    watched = [one for one in model.inputs if one.name in WATCHED_INPUTS]
    fraud = CardFraud(
        merchants=app.columnar_table(
            "merchants", merchant_columns(paid.partitions), sources=[by_merchant], retention_s=retention_s
        ),
        order=PaymentOrder(
            app.columnar_table("payments-held", held_columns(), sources=[by_merchant]),
            app.columnar_table("payment-clocks", clock_columns(paid.partitions), sources=[by_merchant]),
            paid.partitions, metrics,
        ),
        budgets=app.columnar_table("fraud-budget", alert_columns(), sources=[by_merchant]),
        model=model, version=version,
        drift=_drift(app, "fraud", version, watched, settings.drift_window, by_merchant, metrics),
        output=topics["fraud-scores"], alerts=alerts, settings=settings, inference=inference, metrics=metrics,
    )  # fmt: skip
    app.checkpoint.before_cut += [fraud.write_back, fraud.order.sweep]
    app.process(by_merchant)(fraud)
    fraud.timer = PaymentTimer(app, clocks, fraud.order)
    app.timer(CLOCKS_S)(fraud.timer.tell)
    return fraud


def _drift(
    app: Processor,
    name: str,
    version: str,
    references: Sequence[Reference],
    window: int,
    source: BatchTopic,
    metrics: Metrics,
) -> InputDrift | None:
    """The watch over a model's inputs; None where its artifact does not say what they were."""
    if not references:
        return None
    panel = DriftPanel(references, window)
    # Another model has other inputs: its rows have a table of their own.
    table = app.columnar_table(f"drift-{version}", drift_columns(panel), sources=[source])
    return InputDrift(name, version, panel, table, metrics)


def _version(name: str, file: Path) -> str:
    """Of a model's folder, by the content of its main file."""
    return f"{name}-{sha256(file.read_bytes()).hexdigest()[:8]}"
