"""Configs that older versions wrote, with the keys that they did not know yet."""

from functools import cache
from typing import Any

import yaml

from manyheads.config.places import conf_folder

GROWN = {"manyheads.position.rope.Rope": ("position/rope", ("original", "fast", "slow"))}
"""What has keys that it once had not: the file of conf/ that says their values, and which they are."""


def completed(value: Any) -> Any:
    """The same config; what is missing in it is as conf/ has it."""
    if isinstance(value, list):
        return [completed(item) for item in value]
    if not isinstance(value, dict):
        return value
    file, keys = GROWN.get(value.get("_target_"), ("", ()))
    missing = [key for key in keys if key not in value]
    return {key: completed(item) for key, item in value.items()} | {key: _values(file)[key] for key in missing}


@cache
def _values(file: str) -> dict[str, Any]:
    return yaml.safe_load((conf_folder() / f"{file}.yaml").read_text(encoding="utf-8"))
