"""Count the files that a data set omits, by reason and with a few names, for the log and the data card."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from srgan.data.names import safe_path
from srgan.utils.files import read_json_or_none

EXAMPLES = 3  # names per reason


@dataclass
class LeftOut:
    """Omitted files of a data set."""

    counts: dict[str, int] = field(default_factory=dict)  # by reason
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, path: str) -> None:
        """Count a file or folder. `path` is relative to the data set."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        if self.counts[reason] <= EXAMPLES:
            self.examples.setdefault(reason, []).append(safe_path(path))

    def join(self, other: "LeftOut") -> None:
        """Add the counts of another part of the set."""
        for reason, count in other.counts.items():
            self.counts[reason] = self.counts.get(reason, 0) + count
            self.examples[reason] = [*self.examples.get(reason, []), *other.examples[reason]][:EXAMPLES]

    def summary(self) -> str:
        """Return ``, left out: 3 (hidden), 2 (...)``, or an empty text."""
        return ", left out: " + ", ".join(f"{count} ({reason})" for reason, count in self.counts.items()) if self.counts else ""

    def rows(self, name: str, split: str) -> list[dict[str, Any]]:
        """Return a record per reason, for ``data/raw/manifest.json``."""
        return [
            {"set": name, "split": split, "reason": reason, "count": count, "examples": self.examples[reason]}
            for reason, count in sorted(self.counts.items())
        ]


def downloaded(raw: Path) -> str:
    """Return a line about the images in ``data/raw``, empty if there are none."""
    listing = read_json_or_none(raw / "manifest.json")
    if not isinstance(listing, dict) or "images" not in listing:
        return ""
    counts = [sum(image["split"] == split for image in listing["images"]) for split in ("train", "test")]
    left_out = sum(row["count"] for row in listing.get("left_out", []))
    return f"{raw}: {counts[0]:,} train and {counts[1]:,} test images. {left_out:,} files or folders left out, listed in reports/data.html"


def described(row: dict[str, Any]) -> str:
    """Return a row as text, such as ``3 of d: a broken link (a.png, b.png, c.png)``."""
    more = ", ..." if row["count"] > len(row["examples"]) else ""
    return f"{row['count']} of {row['set']}: {row['reason']} ({', '.join(row['examples'])}{more})"
