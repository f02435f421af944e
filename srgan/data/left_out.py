"""What a data set leaves out: counted by reason, with a few names, for the log and the data card."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from srgan.data.names import safe_path
from srgan.utils.files import read_state

EXAMPLES = 3  # names given for each reason


@dataclass
class LeftOut:
    """Files of one data set that are no part of it."""

    counts: dict[str, int] = field(default_factory=dict)  # by reason
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, path: str) -> None:
        """Count a file or folder; `path` is relative to the data set."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        if self.counts[reason] <= EXAMPLES:
            self.examples.setdefault(reason, []).append(safe_path(path))

    def join(self, other: "LeftOut") -> None:
        """Add what another part of the set leaves out."""
        for reason, count in other.counts.items():
            self.counts[reason] = self.counts.get(reason, 0) + count
            self.examples[reason] = [*self.examples.get(reason, []), *other.examples[reason]][:EXAMPLES]

    def summary(self) -> str:
        """Return ``; left out: 3 (hidden), 2 (...)``, or an empty text."""
        return "; left out: " + ", ".join(f"{count} ({reason})" for reason, count in self.counts.items()) if self.counts else ""

    def rows(self, name: str, split: str) -> list[dict[str, Any]]:
        """A record per reason, for ``data/raw/manifest.json``."""
        return [
            {"set": name, "split": split, "reason": reason, "count": count, "examples": self.examples[reason]}
            for reason, count in sorted(self.counts.items())
        ]


def downloaded(raw: Path) -> str:
    """What ``data/raw`` holds, in a line; empty if it is not there."""
    listing = read_state(raw / "manifest.json")
    if not isinstance(listing, dict) or "images" not in listing:
        return ""
    counts = [sum(image["split"] == split for image in listing["images"]) for split in ("train", "test")]
    left_out = sum(row["count"] for row in listing.get("left_out", []))
    return f"{raw}: {counts[0]:,} train and {counts[1]:,} test images; {left_out:,} files or folders left out, listed in reports/data.html"


def described(row: dict[str, Any]) -> str:
    """``3 of d: a link that leads nowhere (a.png, b.png, c.png)``."""
    more = ", ..." if row["count"] > len(row["examples"]) else ""
    return f"{row['count']} of {row['set']}: {row['reason']} ({', '.join(row['examples'])}{more})"
