#!/usr/bin/env python3
"""Writes the classes of `python/rankstill` for models, distillers, compressors, splits, filters and metrics, and the JSON Schema of
experiment files, `docs/experiment.schema.json`.

Names, lines of help and defaults are those of the registries (`rankstill list --json`); fields, their types and what they mean are
those of the structs, read from their source. So nothing is written twice, and the Rust build needs no schema library.

    scripts/python_classes.py --registry FILE    writes; FILE is the output of `rankstill list --json` with all features
    scripts/python_classes.py --registry FILE --check    fails if a file would change
"""

import argparse
import json
import keyword
import re
import struct
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "python" / "rankstill"
SOURCES = ["core", "models", "distill", "data"]
WIDTH = 100

INTS = {"usize", "u8", "u32", "u64", "i64", "isize", "i32"}
FLOATS = {"f32", "f64"}
PLAIN = {"bool": "bool", "String": "str", "PathBuf": "str", "Instant": "str | int", "Value": "Mapping[str, Any]"}


# --- reading the source ------------------------------------------------------------------------------------------------------------


@dataclass
class Field:
    name: str
    type: str
    doc: str


@dataclass
class Variant:
    name: str
    doc: str
    inner: str | None = None
    fields: list[Field] = field(default_factory=list)
    is_default: bool = False


@dataclass
class Type:
    """A struct or an enum of the settings."""

    name: str
    file: Path
    doc: str
    tag: str | None = None
    transparent: str | None = None
    fields: list[Field] | None = None
    variants: list[Variant] | None = None


def read_types() -> dict[str, list[Type]]:
    types: dict[str, list[Type]] = {}
    for crate in SOURCES:
        for path in sorted((ROOT / "crates" / crate / "src").rglob("*.rs")):
            if "test" not in path.name and path.name != "worked_example.rs":
                for found in types_of(path):
                    types.setdefault(found.name, []).append(found)
    return types


HEAD = re.compile(r"^( *)pub (struct|enum) (\w+)( \{|\(pub (\w+)\);| \{\})$")
FIELD = re.compile(r"^pub (\w+): (.+),$")
VARIANT = re.compile(r"^(\w+)(?:\((\w+)\))?( \{)?,?$")


def types_of(path: Path):
    lines = path.read_text().splitlines()
    gradient = False
    at = 0
    while at < len(lines):
        line = lines[at]
        gradient = line == "gradient_recipe! {" or (gradient and line != "}")
        head = HEAD.match(line)
        if not head:
            at += 1
            continue
        indent, what, name, _, inner = head.groups()
        doc, attributes = above(lines, at)
        tag = re.search(r'tag = "(\w+)"', attributes)
        found = Type(name, path, doc, tag=tag and tag[1])
        at += 1
        if inner:
            found.transparent = inner
        elif what == "struct":
            body, at = block(lines, at, indent) if line.endswith("{") else ([], at)
            found.fields = fields(body)
            if gradient:
                found.fields += GRADIENT
        else:
            body, at = block(lines, at, indent)
            found.variants = variants(body)
            if found.variants is None:
                continue
        yield found


def above(lines: list[str], at: int) -> tuple[str, str]:
    """The doc comment and the attributes before a line."""
    doc, attributes = [], []
    while at > 0:
        at -= 1
        line = lines[at].strip()
        if line.startswith("///"):
            doc.insert(0, line[3:].strip())
        elif line.startswith("#["):
            attributes.insert(0, line)
        else:
            break
    return clean(" ".join(doc)), " ".join(attributes)


def block(lines: list[str], at: int, indent: str) -> tuple[list[str], int]:
    end = lines.index(indent + "}", at)
    return lines[at:end], end


def fields(body: list[str]) -> list[Field]:
    found = []
    for at, line in enumerate(body):
        match = FIELD.match(line.strip())
        if match:
            found.append(Field(match[1], match[2], above(body, at)[0]))
    return found


def variants(body: list[str]) -> list[Variant] | None:
    """`None` for an enum that is no setting."""
    found: list[Variant] = []
    depth = len(body[0]) - len(body[0].lstrip()) if body else 0
    for at, line in enumerate(body):
        text = line.strip()
        if not text or text.startswith(("//", "#[", "}")):
            continue
        doc, attributes = above(body, at)
        if len(line) - len(line.lstrip()) > depth:
            name, _, kind = text.rstrip(",").partition(": ")
            found[-1].fields.append(Field(name, kind, doc))
            continue
        match = VARIANT.match(text)
        if not match:
            return None
        renamed = re.search(r'rename = "([^"]+)"', attributes)
        name = renamed[1] if renamed else snake(match[1])
        found.append(Variant(name, doc, match[2], is_default="#[default]" in attributes))
    return found


def snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def clean(doc: str) -> str:
    """Rust's links become plain names."""
    doc = re.sub(r"\[`(?:[\w]+::)*([^`]+)`\](?:\([^)]*\))?", r"`\1`", doc)
    return doc.replace("\\", "\\\\")


def gradient_fields() -> list[Field]:
    """The fields that the macro `gradient_recipe` adds."""
    path = ROOT / "crates/models/src/parts/settings.rs"
    lines = path.read_text().splitlines()
    body = lines[next(at for at, line in enumerate(lines) if "$(#[$field_about])* pub $field" in line) + 1 :]
    return fields(body[: next(at for at, line in enumerate(body) if line.strip() == "}")])


GRADIENT = gradient_fields()


# --- from Rust's types to Python's -------------------------------------------------------------------------------------------------


class Tables:
    """The nested tables that settings use, as `TypedDict`s: a table may leave keys out, like one of an experiment file."""

    def __init__(self, types: dict[str, list[Type]]):
        self.types = types
        self.written: dict[str, str] = {}

    def find(self, name: str, near: Path) -> Type | None:
        """The type of that name in the same file, the same crate, or anywhere."""
        found = self.types.get(name, [])
        order = sorted(found, key=lambda t: (t.file != near, t.file.parts[: len(ROOT.parts) + 2] != near.parts[: len(ROOT.parts) + 2]))
        return order[0] if order else None

    def python(self, rust: str, near: Path) -> str:
        rust = rust.strip()
        if inner := re.fullmatch(r"Option<(.+)>", rust):
            return f"{self.python(inner[1], near)} | None"
        if inner := re.fullmatch(r"(?:Vec<(.+)>|\[(.+); \w+\])", rust):
            return f"Sequence[{self.python(inner[1] or inner[2], near)}]"
        if inner := re.fullmatch(r"BTreeMap<(.+), (.+)>", rust):
            return f"Mapping[{self.python(inner[1], near)}, {self.python(inner[2], near)}]"
        name = rust.split("::")[-1]
        if name in INTS:
            return "int"
        if name in FLOATS:
            return "float"
        if name in PLAIN:
            return PLAIN[name]
        found = self.find(name, near)
        if found is None:
            raise SystemExit(f"{near}: the type `{rust}` is not known")
        if found.fields is not None:
            return self.table(found.name, found, found.fields)
        return self.choice(found)

    def choice(self, enum: Type) -> str:
        words = [v.name for v in enum.variants if not v.inner and not v.fields and not enum.tag]
        options = [f"Literal[{', '.join(json.dumps(word) for word in words)}]"] if words else []
        for variant in enum.variants:
            inner = variant.inner and self.find(variant.inner, enum.file)
            if enum.tag:
                own = inner.fields if inner else variant.fields
                name = inner.name if inner else enum.name + camel(variant.name)
                options.append(self.table(name, inner or enum, own, enum.tag, variant.name, variant.doc))
            elif inner:
                table = self.table(inner.name, inner, inner.fields)
                name = enum.name + camel(variant.name)
                doc = f'    """{variant.doc}"""\n\n'
                self.written[name] = f"class {name}(TypedDict, total=False):\n{doc}    {variant.name}: {table}\n"
                options.append(name)
        return " | ".join(options)

    def table(self, name: str, of: Type, rows: list[Field], tag=None, kind=None, doc=None) -> str:
        if name not in self.written:
            self.written[name] = ""  # in its place, should it be asked for again
            body = [f'    """{wrapped(doc or of.doc, 4)}"""', ""]
            if tag:
                body.append(f'    {tag}: Literal["{kind}"]')
            for row in rows:
                body.append(f"    {row.name}: {self.python(row.type, of.file)}")
                body.append(f'    """{wrapped(row.doc, 4)}"""')
            text = f"class {name}(TypedDict, total=False):\n" + "\n".join(body) + "\n"
            del self.written[name]
            self.written[name] = text
        return name


def camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def wrapped(text: str, indent: int) -> str:
    lines = textwrap.wrap(text, WIDTH - indent - 6, break_long_words=False, break_on_hyphens=False)
    return ("\n" + " " * indent).join(lines)


# --- the registries ----------------------------------------------------------------------------------------------------------------


@dataclass
class Entry:
    kind: str
    about: str
    defaults: dict
    type: Type


def entries(registry: dict, group: str, source: str, types: Tables) -> list[Entry]:
    """The entries of a registry with the struct of each, which stands in the registry's source."""
    path = ROOT / source
    text = path.read_text()
    named = dict(re.findall(r'name: "(\w+)",(?:(?!name: ").)*?parse: \w+::<(\w+)>', text, re.DOTALL))
    named |= {kind: name for name, kind in re.findall(r'entry::<\w+::(\w+)>\(\s*"(\w+)"', text)}
    named |= {"path": "Path", "compressed": "Compressed", "several": "Several"}
    found = []
    for line in registry[group]:
        struct_type = types.find(named[line["name"]], path)
        while struct_type.transparent:
            inner = types.find(struct_type.transparent, struct_type.file)
            struct_type = Type(struct_type.name, inner.file, struct_type.doc, fields=inner.fields)
        found.append(Entry(line["name"], line["about"], line["settings"] or {}, struct_type))
    return found


# Settings that hold other classes, which no struct declares.
BY_HAND = {
    "compressed": [
        Field("model", "Recipe", "The model that is compressed."),
        Field("compress", "Compressor", "How it is compressed."),
    ],
    "several": [Field("of", "Sequence[Distiller]", "The methods, in order; one that replaces the student's own loss comes first.")],
}
REQUIRED = {("compressed", "model"), ("compressed", "compress"), ("several", "of")}
PRESETS = {
    "rank_distil": '"paper" (the default) or "authors_code"',
    "het_comp": '"authors_code" (the default) or "paper"',
}
UNSEEN = Field("drop_unseen_items", "bool", "Drops validation and test rows of items without training rows.")


def settings_class(entry: Entry, base: str, types: Tables, extra: list[Field], group: str) -> str:
    own = BY_HAND.get(entry.kind)
    rows = [(f, f.type if own else types.python(f.type, entry.type.file)) for f in (own or entry.type.fields)]
    rows += [(f, types.python(f.type, entry.type.file)) for f in extra]
    if entry.kind in PRESETS:
        doc = f"The settings from which the others take their defaults: {PRESETS[entry.kind]}."
        rows.insert(0, (Field("preset", "String", doc), "str | None"))
    arguments, documented, declared = [], [], []
    for row, kind in rows:
        name = row.name + "_" * keyword.iskeyword(row.name)
        if (entry.kind, row.name) in REQUIRED:
            arguments.append(f"{name}: {kind}")
            documented.append(f"{name}: {row.doc}")
        else:
            value = default(row, entry.defaults, types, entry.type.file)
            arguments.append(f"{name}: {kind} = default({value})")
            shown = "" if value == "None" or value.startswith("{") else f" Default: {value}."
            documented.append(f"{name}: {row.doc}{shown}")
        declared.append(f"    {name}: {kind}")
    about = sentence(entry.about)
    example = f"{group}.{entry.type.name}" if group else f"rk.{entry.type.name}"
    body = [f'    """{wrapped(about, 4)}', ""]
    if documented:
        body += ["    Args:"]
        for text in documented:
            lines = textwrap.wrap(text, WIDTH - 12, break_long_words=False, break_on_hyphens=False)
            body += [f"        {lines[0]}"] + [f"            {line}" for line in lines[1:]]
        body += [""]
    body += ["    Example:", *example_of(entry, example), '    """', ""]
    body += ["    __slots__ = ()", f'    kind = "{entry.kind}"', *declared, ""]
    if arguments:
        body += ["    def __init__(", "        self,", "        *,", *(f"        {a}," for a in arguments), "    ) -> None:"]
        body += ["        self._read(locals())"]
    else:
        body += ["    def __init__(self) -> None:", "        self._read({})"]
    return f"class {entry.type.name}({base}):\n" + "\n".join(body) + "\n"


def example_of(entry: Entry, name: str) -> list[str]:
    if entry.kind == "compressed":
        call = f"{name}(model=rk.ImplicitAls(dim=32), compress=rk.compressors.Int(bits=4))"
        return [f"        >>> {call}.kind", "        'compressed'"]
    if entry.kind == "several":
        return [f"        >>> {name}(of=[rk.De(), rk.Rrd()]).kind", "        'several'"]
    for key, value in entry.defaults.items():
        if isinstance(value, (int, float)) and not isinstance(value, bool) and not keyword.iskeyword(key):
            value = short(value)
            return [f"        >>> {name}({key}={value}).{key}", f"        {value}"]
    return [f"        >>> {name}().kind", f"        {entry.kind!r}"]


def default(row: Field, defaults: dict, types: Tables, near: Path) -> str:
    """As Python text; what the registry leaves out is `None`, 0, false, or an enum's default."""
    if row.name in defaults:
        return python_value(defaults[row.name])
    if row.type.startswith("Option") or row.name == "preset":
        return "None"
    name = row.type.split("::")[-1]
    if name == "bool":
        return "False"
    if name in INTS:
        return "0"
    found = types.find(name, near)
    if found and found.variants:
        return json.dumps(next(v.name for v in found.variants if v.is_default))
    raise SystemExit(f"no default of `{row.name}: {row.type}`")


def short(number):
    """A 32-bit number as its shortest text: .1 and not .10000000149011612."""
    if isinstance(number, float):
        for digits in range(1, 9):
            text = float(f"{number:.{digits}g}")
            if struct.pack("f", text) == struct.pack("f", number):
                return text
    return number


def python_value(value) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{json.dumps(k)}: {python_value(v)}" for k, v in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(python_value, value)) + "]"
        case str():
            return json.dumps(value)
        case float():
            return repr(short(value))
        case _:
            return repr(value)


def sentence(text: str) -> str:
    text = text[0].upper() + text[1:]
    return text if text.endswith(".") else text + "."


# --- the modules -------------------------------------------------------------------------------------------------------------------

NOTE = "# Written by scripts/python_classes.py from the registries and their structs; not to be edited.\n\n"


def module(about: str, classes: list[tuple[str, str]], bases: list[str], text_imports: list[str]) -> str:
    names = ", ".join(f'"{name}"' for name, _ in classes)
    body = "\n\n".join(text for _, text in classes)
    tables = sorted({name for name in TABLES.written if re.search(rf"\b{name}\b", body)} - {name for name, _ in classes})
    checking = [f"    from ._tables import {', '.join(tables)}"] if tables else []
    if "Any" in re.findall(r"\bAny\b", body):
        checking.insert(0, "    from typing import Any")
    if literal := re.findall(r"\bLiteral\b", body):
        checking.insert(0, f"    from typing import {literal[0]}")
    abstract = [n for n in ("Mapping", "Sequence") if re.search(rf"\b{n}\[", body)]
    if abstract:
        checking.insert(0, f"    from collections.abc import {', '.join(abstract)}")
    checking = text_imports + checking
    block = "TYPE_CHECKING = False\n\nif TYPE_CHECKING:\n" + "\n".join(checking) + "\n\n" if checking else ""
    return (
        f'"""{about}"""\n\n{NOTE}from __future__ import annotations\n\n'
        f"from ._settings import {', '.join(bases + ['default'] * ('default(' in body))}\n\n"
        + block
        + f"__all__ = [{wrapped_list(names)}]\n\n\n{body}"
    )


def wrapped_list(names: str) -> str:
    return names if len(names) < 80 else "\n    " + "\n    ".join(textwrap.wrap(names, 90)) + ",\n"


def metric_class(line: dict) -> tuple[str, str]:
    name, cut = line["name"].partition("@")[::2]
    title = camel(name)
    at = f"int = {cut}" if cut else "int | None = None"
    whole = f"Number of items of a list that count. Default: {cut or 'all'}."
    shown = f"{name}@5"
    body = f'''class {title}(Metric):
    """{sentence(line["about"])}

    Args:
        at: {whole}

    Example:
        >>> str(rk.metrics.{title}(at=5))
        '{shown}'
    """

    __slots__ = ()
    kind = "{name}"

    def __init__(self, *, at: {at}) -> None:
        self._name(at)
'''
    if name == "rbo":
        doc = f"        at: {whole}\n"
        body = body.replace(doc, doc + "        p: How slowly the weight of later places falls, below 1.\n")
        body = body.replace(f"at: {at})", f"at: {at}, p: float | None = None)")
        body = body.replace("self._name(at)", "self._name(at, p)")
    return title, body


def modules(registry: dict) -> dict[str, str]:
    def group(name, source, base, prefix="", extra=()):
        listed = entries(registry, name, source, TABLES)
        return [(e.type.name, settings_class(e, base, TABLES, list(extra), prefix)) for e in listed]

    models = group("models", "crates/models/src/lib.rs", "Recipe")
    distillers = group("distillers", "crates/distill/src/methods.rs", "Distiller")
    compressors = group("compressors", "crates/models/src/compressed.rs", "Compressor", "rk.compressors")
    splits = group("splits", "crates/data/src/split/mod.rs", "Split", "rk.split", [UNSEEN])
    tables = [("filter", "filter.rs"), ("mask", "split/protocol.rs"), ("history", "split/protocol.rs")]
    data = []
    for kind, file in tables:
        path = ROOT / "crates/data/src" / file
        found = TABLES.find(kind.capitalize(), path)
        found_defaults = {} if kind != "filter" else {"duplicates": "first", "user_core": 0, "item_core": 0}
        entry = Entry(kind, found.doc.split(". ")[0], found_defaults, found)
        data.append((found.name, settings_class(entry, "DataTable", TABLES, [], "rk")))
    metrics = [metric_class(line) for line in registry["metrics"]]
    for extra in ("StateSelection", "Fusion"):
        found = TABLES.find(extra, ROOT / "crates/distill/src/lib.rs")
        TABLES.table(found.name, found, found.fields)
    own = ["    from ._settings import Compressor"]
    return {
        "models.py": module("The models: rankers that can be fitted.", models, ["Recipe"], own),
        "distillers.py": module("The methods of distillation.", distillers, ["Distiller"], []),
        "compressors.py": module("What else than distillation makes a fitted model small.", compressors, ["Compressor"], []),
        "split.py": module("How a log is divided into training, validation and test part.", splits, ["Split"], []),
        "tables.py": module("Which rows of a log are kept, and the protocol of evaluation.", data, ["DataTable"], []),
        "metrics.py": module("Measures of a ranking.", metrics, ["Metric"], []),
        "_tables.py": f'"""Nested tables of settings; a key that is left out has its default."""\n\n{NOTE}'
        "from __future__ import annotations\n\nfrom collections.abc import Sequence\n"
        "from typing import Literal, TypedDict\n\n\n" + "\n\n".join(TABLES.written.values()),
    }


TABLES = Tables(read_types())


def files(registry: dict) -> dict[Path, str]:
    from experiment_schema import schema  # which needs what is above

    written = {OUT / name: text for name, text in modules(registry).items()}
    return written | {ROOT / "docs" / "experiment.schema.json": schema(registry)}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--registry", required=True, type=Path, help="the output of `rankstill list --json`")
    options.add_argument("--check", action="store_true", help="write nothing; fail if a file would change")
    given = options.parse_args()
    stale = []
    for path, text in files(json.loads(given.registry.read_text())).items():
        if path.exists() and path.read_text() == text:
            continue
        stale.append(path.name)
        if not given.check:
            path.write_text(text)
    if given.check and stale:
        print(f"stale: {', '.join(stale)}; run scripts/python_classes.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
