"""The JSON Schema of experiment files, for editors: from the same registries and structs as the Python classes."""

import json
import re
from pathlib import Path

from python_classes import BY_HAND, FLOATS, INTS, PRESETS, ROOT, TABLES, UNSEEN, Entry, Field, Type, entries, types_of

SPEC = ROOT / "crates/rankstill-cli/src/experiment/spec.rs"
DATA = ROOT / "crates/data/src"


class Schema:
    """Turns Rust's types into schemas; structs and enums are written once, below `$defs`."""

    def __init__(self) -> None:
        self.defs: dict[str, dict] = {}
        self.own = {found.name: found for found in types_of(SPEC)}

    def of(self, rust: str, near: Path) -> dict:
        rust = rust.strip()
        if inner := re.fullmatch(r"Option<(.+)>", rust):
            return self.of(inner[1], near)
        if inner := re.fullmatch(r"(?:Vec<(.+)>|\[(.+); \w+\])", rust):
            return {"type": "array", "items": self.of(inner[1] or inner[2], near)}
        if inner := re.fullmatch(r"(?:BTreeMap|Map)<(.+), (.+)>", rust):
            return {"type": "object", "additionalProperties": self.of(inner[2], near)}
        name = rust.split("::")[-1]
        if name in INTS:
            return {"type": "integer", "minimum": 0} if name.startswith("u") else {"type": "integer"}
        if name in FLOATS:
            return {"type": "number"}
        plain = {"bool": {"type": "boolean"}, "String": {"type": "string"}, "PathBuf": {"type": "string"}, "Value": {}}
        if name in plain:
            return plain[name]
        if name == "Instant":
            return {"type": ["string", "integer"]}
        if name == "Values":
            one = {"type": ["string", "number", "boolean"]}
            return {"anyOf": [one, {"type": "array", "items": one}]}
        found = self.own.get(name) if near == SPEC else None
        found = found or TABLES.find(name, DATA / "filter.rs" if near == SPEC else near)
        if found is None:
            raise SystemExit(f"{near}: the type `{rust}` is not known")
        key = found.name if found.file != SPEC else f"experiment_{found.name}"
        if self.defs.get(key, {}).get("$comment", str(found.file.name)) != found.file.name:
            key = f"{found.file.stem}_{key}"  # two structs of one name
        if key not in self.defs:
            self.defs[key] = {"$comment": found.file.name}  # in its place, should it hold itself
            self.defs[key] |= self.table(found.fields, found.file, found.doc) if found.fields is not None else self.choice(found)
        return {"$ref": f"#/$defs/{key}"}

    def table(self, rows: list[Field], near: Path, doc: str = "", kind: str | None = None, required: tuple = (), tag: str = "kind") -> dict:
        properties = {tag: {"const": kind}} if kind else {}
        properties |= {row.name: described(self.of(row.type, near), row.doc) for row in rows}
        found = {"type": "object", "properties": properties, "additionalProperties": False}
        needed = [*([tag] if kind else []), *required]
        return described(found | ({"required": needed} if needed else {}), doc)

    def choice(self, enum: Type) -> dict:
        words = [v.name for v in enum.variants if not v.inner and not v.fields and not enum.tag]
        options = [{"enum": words}] if words else []
        for variant in enum.variants:
            inner = variant.inner and TABLES.find(variant.inner, enum.file)
            if enum.tag:
                rows = inner.fields if inner else variant.fields
                options.append(self.table(rows, (inner or enum).file, variant.doc, variant.name, tag=enum.tag))
            elif inner:
                of = {variant.name: self.table(inner.fields, inner.file, inner.doc)}
                options.append({"type": "object", "properties": of, "required": [variant.name], "additionalProperties": False})
        return described(options[0] if len(options) == 1 else {"anyOf": options}, enum.doc)


def described(schema: dict, doc: str) -> dict:
    doc = doc.replace("\\\\", "\\")
    return {**schema, "description": doc} if doc else schema


def schema(registry: dict) -> str:
    types = Schema()
    name = {"type": "string", "description": "The name of a model of this file."}
    names = {"anyOf": [name, {"type": "array", "items": name, "minItems": 1}]}

    def kinds(group: str, source: str, extra: dict, rows: tuple = ()) -> dict:
        return {"anyOf": [one(entry, extra, list(rows)) for entry in entries(registry, group, source, TABLES)]}

    def one(entry: Entry, extra: dict, rows: list[Field]) -> dict:
        by_hand = {"model": {"$ref": "#/$defs/fitted"}, "compress": {"$ref": "#/$defs/compressor"}}
        by_hand["of"] = {"type": "array", "items": {"$ref": "#/$defs/method"}, "minItems": 1}
        own = BY_HAND.get(entry.kind)
        found = types.table([] if own else entry.type.fields + rows, entry.type.file, entry.about, entry.kind)
        found["properties"] |= {row.name: described(by_hand[row.name], row.doc) for row in own or []}
        if entry.kind in PRESETS:
            words = re.findall(r'"(\w+)"', PRESETS[entry.kind])
            found["properties"]["preset"] = {"enum": words, "description": "The settings from which the others take their defaults."}
        found["properties"] |= extra
        return found

    types.defs["compressor"] = kinds("compressors", "crates/models/src/compressed.rs", {})
    teaching = {"teachers": described(names, 'Who teaches: models of this file, or "self".')}
    teaching["self_teaching"] = types.of("SelfTeaching", ROOT / "crates/distill/src/self_taught.rs")
    types.defs["method"] = kinds("distillers", "crates/distill/src/methods.rs", teaching)
    offset = {"type": "integer", "minimum": 0, "description": "Added to the seed of this model."}
    types.defs["fitted"] = kinds("models", "crates/models/src/lib.rs", {"distill": {"$ref": "#/$defs/method"}, "seed_offset": offset})
    types.defs["split"] = kinds("splits", "crates/data/src/split/mod.rs", {}, (UNSEEN,))
    fusion = types.of("Fusion", ROOT / "crates/distill/src/fusion.rs")
    read = types.of("ReadOptions", DATA / "lib.rs")
    columns = types.defs["ColumnNames"]["properties"]
    columns |= {"rank": columns["time"], "score": columns["weight"]}  # as rankings call them
    for column in columns:
        columns[column] = columns[column] | {"type": ["string", "integer"]}
    files = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}

    def other(kind: str, properties: dict, required: list[str], doc: str) -> dict:
        properties = {"kind": {"const": kind}} | properties
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False, "description": doc}

    types.defs["model"] = {
        "anyOf": [
            {"$ref": "#/$defs/fitted"},
            other("ensemble", {"members": names, "fusion": fusion}, ["kind", "members"], "Several models as one."),
            other("rankings", {"path": files, "read": read}, ["kind", "path"], "Rankings of any other system; several files are states."),
            {
                "type": "object",
                "properties": {"like": name, "compress": {"$ref": "#/$defs/compressor"}},
                "required": ["like"],
                "description": "As another model but for what is given here; or with `compress`, that model compressed.",
            },
        ]
    }
    spec = types.own["Spec"]
    root = types.table([row for row in spec.fields if row.name not in ("models", "figures", "tune")], SPEC)
    types.defs["experiment_DataSpec"]["properties"]["split"] = described(
        {"$ref": "#/$defs/split"}, "How interactions are divided into training, validation and test part."
    )
    root["properties"]["models"] = {"type": "object", "additionalProperties": {"type": "object"}, "description": "The models by name."}
    base = "Another experiment file, relative to this one, whose settings are those that are not given here."
    root["properties"]["base"] = {"type": "string", "description": base}
    tune = types.table(types.own["TuneSpec"].fields, SPEC)
    tune["properties"]["models"] = {"type": "object", "description": "Ranges by model and setting."}
    root["properties"]["tune"] = tune
    root["properties"]["figure"] = {"type": "array", "items": types.table(types.own["FigureSpec"].fields, SPEC)}
    # Over a base every table may be a part of one.
    models = {"type": "object", "additionalProperties": {"$ref": "#/$defs/model"}, "minProperties": 1}
    root |= {"if": {"required": ["base"]}, "else": {"required": ["data", "models"], "properties": {"models": models}}}
    for one_def in types.defs.values():
        one_def.pop("$comment", None)
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An experiment of Rankstill",
        "description": "docs/experiments.md explains it. Written by scripts/python_classes.py; not to be edited.",
        **root,
        "$defs": types.defs,
    }
    return json.dumps(whole, indent=1) + "\n"
