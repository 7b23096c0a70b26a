"""The contract as documents: AsyncAPI 3 (asyncapi.yaml) and JSON Schema (schemas.json), made from the structs.

python -m topics.asyncapi           # writes both beside this file
python -m topics.asyncapi --check   # exit code 1 where they are stale
"""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

import msgspec

from topics.catalog import Catalog, Topic

__all__ = ["asyncapi_document", "documents", "schema_document", "schema_of", "to_yaml"]

HERE = pathlib.Path(__file__).parent

#: Version of the contract: the first number changes where an old record would no longer be accepted.
CONTRACT_VERSION = "1.0.0"

#: Names that YAML 1.1 takes for booleans or null.
_WORDS = frozenset(("null", "true", "false", "yes", "no", "on", "off", "y", "n"))

_HEADERS = {
    "error.reason": "Why: undecodable, invalid, oversized, empty, late or failed.",
    "error.message": "What was wrong, with the path of the field where there is one.",
    "error.stage": "Where it failed: decode, or the name of an agent.",
    "source.topic": "Topic the record was read from.",
    "source.partition": "Its partition, in decimal digits.",
    "source.offset": "Its offset, in decimal digits.",
}


def schema_of(type_: type[Any]) -> dict[str, Any]:
    """A JSON Schema (2020-12) of one struct, complete in itself."""
    schema = msgspec.json.schema(type_)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def schema_document(catalog: Catalog) -> dict[str, Any]:
    """JSON Schemas (2020-12) of all structs, under `$defs`."""
    _, definitions = msgspec.json.schema_components(_types(catalog), ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"tsrec contract {CONTRACT_VERSION}",
        "$defs": definitions,
    }


def asyncapi_document(catalog: Catalog, server: str = "127.0.0.1:9092") -> dict[str, Any]:
    """The AsyncAPI 3.0 document of the topics under the names `catalog` gives them."""
    _, schemas = msgspec.json.schema_components(_types(catalog), ref_template="#/components/schemas/{name}")
    operations = {}
    for topic in catalog.values():
        for action in _actions(topic):
            verb = "read" if action == "receive" else "write"
            operations[f"{verb}-{topic.name}"] = {
                "action": action,
                "channel": {"$ref": f"#/channels/{topic.name}"},
                "summary": topic.summary,
                "messages": [{"$ref": f"#/channels/{topic.name}/messages/{_message_name(topic)}"}],
            }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "tsrec",
            "version": CONTRACT_VERSION,
            "description": (
                "Events that tsrec reads and decisions it publishes. JSON; keys are UTF-8 ids; times are seconds since "
                "the epoch; unknown fields are ignored; a missing optional field may also be null."
            ),
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"broker": {"host": server, "protocol": "kafka", "description": "Any Kafka-compatible broker."}},
        "channels": {topic.name: _channel(topic) for topic in catalog.values()},
        "operations": operations,
        "components": {
            "messages": {_message_name(topic): _message(topic) for topic in catalog.values()},
            "schemas": {**schemas, "ErrorHeaders": _header_schema()},
        },
    }


def _types(catalog: Catalog) -> list[type[Any]]:
    """The structs of the topics, each once, in the catalog's order."""
    return list(dict.fromkeys(topic.type for topic in catalog.values() if topic.type is not None))


def _actions(topic: Topic) -> list[str]:
    return {"input": ["receive"], "output": ["send"], "errors": ["send"], "internal": ["send", "receive"]}[topic.role]


def _message_name(topic: Topic) -> str:
    if topic.type is None:
        return "LateEvent" if topic.name == "late-events" else "DeadLetter"
    return "AccountTrade" if topic.role == "internal" else topic.type.__name__


def _channel(topic: Topic) -> dict[str, Any]:
    config: dict[str, Any] = {name: int(value) if value.isdigit() else value for name, value in topic.config().items()}
    config["cleanup.policy"] = [topic.cleanup]
    keyed = f" Keyed by {topic.key}." if topic.key else " Keyed as the record came."
    together = f" Co-partitioned with all topics keyed by {topic.group}." if topic.group else ""
    return {
        "address": topic.kafka_name,
        "description": topic.summary + keyed + together,
        "messages": {_message_name(topic): {"$ref": f"#/components/messages/{_message_name(topic)}"}},
        "bindings": {
            "kafka": {
                "topic": topic.kafka_name,
                "partitions": topic.partitions,
                "topicConfiguration": config,
                "bindingVersion": "0.5.0",
            }
        },
    }


def _message(topic: Topic) -> dict[str, Any]:
    key = f"The record's {topic.key}." if topic.key else "As the record came; may be null."
    message: dict[str, Any] = {
        "name": _message_name(topic),
        "title": topic.summary,
        "contentType": "application/json" if topic.type else "application/octet-stream",
        "bindings": {"kafka": {"key": {"type": "string", "description": key}, "bindingVersion": "0.5.0"}},
    }
    if topic.type is None:
        message["summary"] = "The record as it came, bytes untouched, with headers that say what was wrong."
        message["headers"] = {"$ref": "#/components/schemas/ErrorHeaders"}
    else:
        message["payload"] = {"$ref": f"#/components/schemas/{topic.type.__name__}"}
    return message


def _header_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: {"type": "string", "description": text} for name, text in _HEADERS.items()},
        "required": list(_HEADERS),
    }


def to_yaml(value: Any, indent: int = 0) -> str:
    """Plain JSON data as block-style YAML; every string in JSON quotes, so that nothing is read as another type."""
    pad = "  " * indent
    if isinstance(value, dict) and value:
        lines = []
        for key, item in value.items():
            name = key if key.isidentifier() and key.lower() not in _WORDS else json.dumps(key)
            nested = isinstance(item, (dict, list)) and item
            lines.append(f"{pad}{name}:" + ("\n" + to_yaml(item, indent + 1) if nested else f" {to_yaml(item)}"))
        return "\n".join(lines)
    if isinstance(value, list) and value:
        lines = []
        for item in value:
            text = to_yaml(item, indent + 1)
            lines.append(f"{pad}- {text.lstrip()}")
        return "\n".join(lines)
    return json.dumps(value, ensure_ascii=False)


def documents() -> dict[str, str]:
    """File name -> its text."""
    head = "# Generated by python -m topics.asyncapi; do not edit.\n"
    catalog = Catalog()
    return {
        "asyncapi.yaml": head + to_yaml(asyncapi_document(catalog)) + "\n",
        "schemas.json": json.dumps(schema_document(catalog), indent=2, ensure_ascii=False) + "\n",
    }


def stale(folder: pathlib.Path = HERE) -> list[str]:
    """Names of the files that are missing or no longer what the structs say."""
    return [
        name
        for name, text in documents().items()
        if not (folder / name).is_file() or (folder / name).read_text("utf-8") != text
    ]


def main(arguments: list[str]) -> int:
    """Write the documents, or say whether they are stale."""
    if arguments == ["--check"]:
        for name in stale():
            print(f"topics/{name} is stale: run python -m topics.asyncapi", file=sys.stderr)
        return 1 if stale() else 0
    if arguments:
        print("usage: python -m topics.asyncapi [--check]", file=sys.stderr)
        return 2
    for name, text in documents().items():
        (HERE / name).write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
