"""Reading YAML: every fault is one sentence with the key, its value and the mend."""

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from visage.config.method import schema_at
from visage.config.serving import Serving
from visage.config.space import set_path
from visage.errors import UserError, one_line

# A date such as 2024-13-01 is a ValueError, a thousand brackets are a RecursionError.
NO_YAML = (yaml.YAMLError, ValueError, RecursionError)
PASSWORDS = (
    re.compile(r"(://[^\s:/@]*:)[^\s\"'<>]+(?=@)"),
    re.compile(r"([?&](?:\w*password|passwd|pwd|\w*secret|\w*token)=)[^&\s\"'<>]+", re.IGNORECASE),
)
Schema = TypeVar("Schema", bound=BaseModel)


def read_config(schema: type[Schema], path: Path, settings: Sequence[str] = ()) -> Schema:
    """The file at `path` as `schema`, with `key.path=value` settings laid over it.

    Raises UserError for a missing or unreadable file, an unknown key, a wrong type or an impossible value.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(
            f"{path}: there is no such file; give the path of a YAML file, for instance one of configs/."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); give a readable YAML file.") from None
    try:
        tree = yaml.safe_load(text)
    except NO_YAML as error:
        raise UserError(f"{path}: is no valid YAML ({one_line(error)}); mend that line.") from None
    tree = {} if tree is None else tree
    if not isinstance(tree, dict):
        raise UserError(f"{path}: holds a {type(tree).__name__} and not keys; write key: value lines.")
    for setting in settings:
        apply_setting(tree, setting)
    return validated(schema, tree, str(path))


def read_serving(path: Path | None, settings: Sequence[str]) -> Serving:
    """The endpoint's configuration. Without a file it is the quick start: no keys, and for this machine alone."""
    if path:
        return read_config(Serving, path, settings)
    tree: dict[str, Any] = {}
    for setting in settings:
        apply_setting(tree, setting)
    tree.setdefault("access", {"required": False})
    return validated(Serving, tree, "visage serve")


def written(config: BaseModel) -> str:
    """The configuration as YAML, every field named, that reads back as the same but for passwords."""
    return yaml.safe_dump(shareable(config), sort_keys=False, allow_unicode=True, width=120)


def shareable(config: BaseModel) -> dict[str, Any]:
    """The configuration as plain data that may leave this machine: without the passwords of its addresses."""

    def cleaned(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: cleaned(value) for key, value in node.items()}
        if isinstance(node, list):
            return [cleaned(value) for value in node]
        return without_passwords(node) if isinstance(node, str) else node

    tree: dict[str, Any] = cleaned(config.model_dump(mode="json"))
    return tree


def without_passwords(text: str) -> str:
    """The text with *** for the passwords of the addresses in it."""
    for password in PASSWORDS:
        text = password.sub(r"\1***", text)
    return text


def apply_setting(tree: dict[str, Any], setting: str) -> None:
    """Lay one `key.path=value` over a configuration tree; the value is read as YAML."""
    key, equals, text = setting.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {setting}: is not key.path=value; write for instance --set train.batch=8.")
    try:
        set_path(tree, key.strip(), yaml.safe_load(text))
    except NO_YAML:
        raise UserError(f"--set {setting}: the value {text!r} is no valid YAML; put it in quotes.") from None
    except KeyError as error:
        raise UserError(f"--set {setting}: {error.args[0]}; use a path such as loss.pixel.weight.") from None


def validated(schema: type[Schema], tree: Mapping[str, Any], origin: str) -> Schema:
    """The tree as `schema`, or a UserError that names the first fault."""
    try:
        return schema.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        path = [str(part) for part in first["loc"]]
        key = ".".join(path) or "the file"
        if first["type"] == "extra_forbidden":
            raise UserError(f"{origin}: {key}: unknown key; {_nearest(schema, path, tree)}.") from None
        value = "" if first["type"] == "missing" or isinstance(first["input"], dict) else f" = {first['input']!r}"
        message = first["msg"].removeprefix("Value error, ").replace("tuple", "list")  # as YAML calls it
        raise UserError(f"{origin}: {key}{value}: {message[0].lower()}{message[1:].rstrip('.')}.") from None


def _nearest(schema: type[BaseModel], path: Sequence[str], tree: Mapping[str, Any]) -> str:
    """What a misspelt key may have meant: the nearest name, or all names beside it."""
    names = list(schema.model_fields)
    node: Any = schema
    for name in path[:-1]:
        node = schema_at(node, name, tree) if name in names else None
        if not (isinstance(node, type) and issubclass(node, BaseModel)):
            return "remove it"
        names = list(node.model_fields)
    near = difflib.get_close_matches(path[-1], names, n=1)
    return f"did you mean {near[0]}" if near else f"known here are {', '.join(names)}"
