"""What comes in: one struct a topic. Unknown fields are ignored; a missing optional field is None."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from topics.fields import Action, Amount, Id, Price, Side, Time

__all__ = [
    "AlertAction",
    "CardTransaction",
    "Click",
    "CreditApplication",
    "Feedback",
    "FraudLabel",
    "Item",
    "ItemCount",
    "MerchantTransaction",
    "Purchase",
    "SymbolBar",
    "Trade",
]


class Click(Struct, frozen=True, gc=False, omit_defaults=True):
    """A user saw, clicked or kept an item. Without `action` it is a click."""

    user_id: Id
    item_id: Id
    ts: Time
    action: Action | None = None
    session_id: Id | None = None
    decision_id: Annotated[Id, Meta(description="The recommendation that led here.")] | None = None


class Purchase(Struct, frozen=True, gc=False, omit_defaults=True):
    """A user bought an item: one line of an order. `price` is for one piece."""

    user_id: Id
    item_id: Id
    ts: Time
    quantity: Amount | None = None
    price: Amount | None = None
    order_id: Id | None = None
    decision_id: Annotated[Id, Meta(description="The recommendation that led here.")] | None = None


class Trade(Struct, frozen=True, gc=False, omit_defaults=True):
    """A trade on a market; `side` is the aggressor's, `account_id` the account watched for risk."""

    symbol: Id
    price: Price
    quantity: Amount
    ts: Time
    account_id: Id | None = None
    side: Side | None = None
    trade_id: Id | None = None


class Item(Struct, frozen=True, gc=False, omit_defaults=True):
    """An item of the catalog; the latest record of a key holds, a null value deletes the item.

    It may be recommended while `available_from` <= now < `expires_at`; a missing bound is open.
    """

    item_id: Id
    title: str | None = None
    category: str | None = None
    text: str | None = None
    price: Amount | None = None
    available_from: Time | None = None
    expires_at: Time | None = None


class Feedback(Struct, frozen=True, gc=False, omit_defaults=True):
    """The reward of one recommended item of one decision."""

    decision_id: Id
    item_id: Id
    ts: Time
    reward: Annotated[float, Meta(description="Usually 0 or 1; any finite number.")]


class CreditApplication(Struct, frozen=True, omit_defaults=True):
    """An account applies for credit; the model names the features it wants."""

    account_id: Id
    ts: Time
    features: dict[str, float | str | bool | None]


class CardTransaction(Struct, frozen=True, gc=False, omit_defaults=True):
    """A card (or account) pays a merchant; what is not accepted by the card's bank does not belong here."""

    account_id: Id
    merchant_id: Id
    ts: Time
    amount: Amount
    transaction_id: Id | None = None


class FraudLabel(Struct, frozen=True, gc=False, omit_defaults=True):
    """What a transaction turned out to be: a complaint of the card's holder, or a check that found it good."""

    account_id: Id
    merchant_id: Id
    ts: Annotated[Time, Meta(description="Of the transaction.")]
    is_fraud: bool
    known_ts: Annotated[Time, Meta(description="When it became known; without it, the time of the record.")] | None = (
        None
    )
    amount: Amount | None = None
    transaction_id: Id | None = None


class MerchantTransaction(Struct, frozen=True, gc=False, omit_defaults=True):
    """Internal: a card transaction or a label on its way to the merchant's state, with what is known of the card; or,
    with an `origin`, how far that partition of cards has come."""

    account_id: Id
    merchant_id: Id
    ts: Time
    amount: Amount
    card: Annotated[str, Meta(description="Features of the card, float64 in base64; empty for a label.")]
    source: Id
    transaction_id: Id | None = None
    is_fraud: bool | None = None
    known_ts: Time | None = None
    amount_to_usual: float | None = None
    origin: int | None = None
    generation: int | None = None
    keeps_up: bool | None = None


class SymbolBar(Struct, frozen=True, gc=False, omit_defaults=True):
    """Internal: a closed bar of a symbol, and the volatility's parameters where they are new from it on."""

    symbol: Id
    number: Annotated[float, Meta(description="Start of the bar over its width.")]
    ts: Annotated[Time, Meta(description="End of the bar.")]
    close: Price
    log_return: float | None = None
    omega: float | None = None
    alpha: float | None = None
    gamma: float | None = None
    beta: float | None = None
    mu: float | None = None


class ItemCount(Struct, frozen=True, gc=False, omit_defaults=True):
    """Internal: how often an item was wanted in a window, in one partition of users; or that the window is over."""

    item_id: Id
    ts: Annotated[Time, Meta(description="Start of the window.")]
    count: Annotated[int, Meta(ge=0)]
    origin: Annotated[int, Meta(ge=0, description="The partition that counted.")]
    is_over: Annotated[bool, Meta(description="No item: all counts of this window and partition were sent.")] | None = (
        None
    )


class AlertAction(Struct, frozen=True, omit_defaults=True):
    """A person answers an alert; `confirm` and `reject` are kept as labels."""

    alert_id: Id
    action: Literal["acknowledge", "silence", "confirm", "reject"]
    ts: Time
    by: Id | None = None
    until_ts: Time | None = None
    note: str | None = None
    context: dict[str, Any] | None = None
