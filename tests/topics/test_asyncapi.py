"""The generated documents are fresh, well-formed and say what the structs say."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from topics import Catalog, asyncapi
from topics.events import Click


def references(value: Any) -> Iterator[str]:
    """Every $ref below `value`."""
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def resolve(document: Any, reference: str) -> Any:
    """What a local reference points at."""
    assert reference.startswith("#/")
    for part in reference[2:].split("/"):
        document = document[part]
    return document


def test_the_documents_in_the_package_are_not_stale() -> None:
    assert asyncapi.stale() == [], "run: python -m topics.asyncapi"


def test_a_changed_document_is_stale(tmp_path: pathlib.Path) -> None:
    for name, text in asyncapi.documents().items():
        (tmp_path / name).write_text(text, "utf-8")
    assert asyncapi.stale(tmp_path) == []
    with (tmp_path / "asyncapi.yaml").open("a") as file:
        file.write("x-more: true\n")
    (tmp_path / "schemas.json").unlink()
    assert asyncapi.stale(tmp_path) == ["asyncapi.yaml", "schemas.json"]


def test_every_reference_resolves() -> None:
    for document in (asyncapi.asyncapi_document(Catalog()), asyncapi.schema_document(Catalog())):
        found = list(references(document))
        assert found
        for reference in found:
            assert resolve(document, reference)


def test_the_document_has_what_asyncapi_3_demands() -> None:
    document = asyncapi.asyncapi_document(Catalog("shop."))
    assert document["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= set(document["info"])
    for name, channel in document["channels"].items():
        assert channel["address"] == f"shop.{name}"
        assert channel["bindings"]["kafka"]["topicConfiguration"]["cleanup.policy"] in (["delete"], ["compact"])
    for operation in document["operations"].values():
        assert operation["action"] in ("send", "receive")
        channel = operation["channel"]["$ref"]
        # The specification: an operation's messages are references into its own channel.
        assert all(message["$ref"].startswith(f"{channel}/messages/") for message in operation["messages"])


def test_constraints_of_the_structs_are_in_the_schemas() -> None:
    definitions = asyncapi.schema_document(Catalog())["$defs"]
    assert definitions["Click"]["required"] == ["user_id", "item_id", "ts"]
    assert definitions["Trade"]["properties"]["price"]["exclusiveMinimum"] == 0
    assert definitions["Click"]["properties"]["user_id"]["maxLength"] == 256
    assert "additionalProperties" not in definitions["Click"]  # unknown fields are ignored
    assert asyncapi.schema_of(Click)["$defs"]["Click"] == definitions["Click"]


def test_the_yaml_reads_back_as_the_document() -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    document = asyncapi.asyncapi_document(Catalog())
    assert yaml.safe_load(asyncapi.to_yaml(document)) == json.loads(json.dumps(document))
    odd = {"on": "yes", "1": ["no", {"a b": []}, [1, ["é: #"]]], "n": {}, "x": None}
    assert yaml.safe_load(asyncapi.to_yaml(odd)) == odd


def test_the_command_tells_stale_from_fresh(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asyncapi.main(["--check"]) == 0
    assert asyncapi.main(["--what"]) == 2
    monkeypatch.setattr(asyncapi, "stale", lambda: ["asyncapi.yaml"])
    assert asyncapi.main(["--check"]) == 1
    assert "topics/asyncapi.yaml is stale" in capsys.readouterr().err
