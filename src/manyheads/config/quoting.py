"""Text as Hydra's command line reads it, whatever it holds."""

from pathlib import Path

from hydra.core.override_parser.types import Quote, QuotedString


def quoted(text: str | Path) -> str:
    """In single quotes, with Hydra's own rule for those and the backslashes within."""
    return QuotedString(str(text), Quote.single).with_quotes()
