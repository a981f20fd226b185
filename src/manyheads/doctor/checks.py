"""What the doctor says: a light and a sentence for each thing that it looked at."""

from dataclasses import dataclass, field
from typing import Any, Literal

Light = Literal["green", "yellow", "red"]

SECTIONS = ("environment", "config", "data", "model", "speed")


@dataclass(frozen=True)
class Check:
    """light: green is well, yellow is worth knowing, red is a run that fails or means nothing. details: for --json."""

    section: str
    name: str
    light: Light
    sentence: str
    details: dict[str, Any] = field(default_factory=dict)


class Findings:
    """Checks in the order in which they were made."""

    def __init__(self) -> None:
        self.checks: list[Check] = []

    def add(self, section: str, name: str, light: Light, sentence: str, **details: Any) -> None:
        """Of a sentence of several lines, the first is told; the others list what is valid, and are details."""
        first, _, rest = sentence.partition("\n")
        details |= {"more": rest} if rest else {}
        self.checks.append(Check(section, name, light, first, details))

    def of(self, section: str) -> list[Check]:
        return [check for check in self.checks if check.section == section]

    @property
    def sick(self) -> bool:
        """Whether anything is red."""
        return any(check.light == "red" for check in self.checks)
