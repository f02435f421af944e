"""The installed packages of a release: a bill of materials in CycloneDX, and their licenses as a table."""

import json
import re
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import InvalidRequirement, Requirement

from srgan.evaluation.model_card import escaped

UNKNOWN = "not declared"


def bill_of_materials(name: str, version: str, licence: str) -> str:
    """Return the bill of this environment as JSON: every installed package with its version, license and requirements.

    Args:
        name: of the model.
        version: of the release.
        licence: of the weights.
    """
    factory = LicenseFactory()
    model = Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=name,
        version=version,
        licenses=[factory.make_with_name(licence)],
        bom_ref=f"model:{name}@{version}",
    )
    installed = _installed()
    components = {
        key: Component(
            type=ComponentType.LIBRARY,
            name=found.metadata["Name"],
            version=found.version,
            licenses=[factory.make_from_string(text)] if (text := licence_of(found)) != UNKNOWN else [],
            purl=PackageURL("pypi", None, key, found.version),
            bom_ref=f"pypi:{key}@{found.version}",
        )
        for key, found in installed.items()
    }
    bom = Bom(components=components.values())
    bom.metadata.component = model
    bom.register_dependency(model, [components["srgan"]] if "srgan" in components else [])
    for key, found in installed.items():
        bom.register_dependency(components[key], [components[other] for other in _requirements(found) if other in components])
    return json.dumps(json.loads(JsonV1Dot6(bom).output_as_string()), indent=2) + "\n"


def licences(manifest: dict[str, Any], licence: str) -> str:
    """Return ``LICENSES.md``: the licenses of the weights, of the images and of the installed packages.

    Args:
        manifest: of the prepared data.
        licence: of the weights.
    """
    sets = sorted({(image["part"], image["set"], str(image["licence"])) for image in manifest["images"]})
    packages = sorted((found.metadata["Name"], found.version, licence_of(found)) for found in _installed().values())
    return "\n".join(
        [
            "# Licenses",
            "",
            f"Weights: {escaped(licence)}",
            "",
            "## Images",
            "",
            "The weights were trained and scored with these images. The images are not part of the release.",
            "",
            *_table(("part", "set", "license"), sets),
            "",
            "## Packages",
            "",
            "These packages were installed when the release was made. They are not part of it.",
            "",
            *_table(("package", "version", "license"), packages),
            "",
        ]
    )


def licence_of(found: metadata.Distribution) -> str:
    """Return the license that a package declares: an SPDX expression where it has one, else its words."""
    declared = found.metadata
    if "License-Expression" in declared:
        return declared["License-Expression"]
    classifiers = [text.rpartition(" :: ")[2] for text in declared.get_all("Classifier") or [] if text.startswith("License ::")]
    named = " AND ".join(sorted({text for text in classifiers if text != "OSI Approved"}))
    words = declared["License"].strip().partition("\n")[0] if "License" in declared else ""
    return named or (words if 0 < len(words) <= 100 else "") or UNKNOWN


def _installed() -> dict[str, metadata.Distribution]:
    """Return the installed packages by their normalized names, in order."""
    found = {_normalized(one.metadata["Name"]): one for one in metadata.distributions() if one.metadata["Name"]}
    return dict(sorted(found.items()))


def _requirements(found: metadata.Distribution) -> list[str]:
    """Return the normalized names of the packages that a package needs here, without its extras."""
    names = set()
    for text in found.requires or []:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:  # of an old package, which pip would not read either
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            names.add(_normalized(requirement.name))
    return sorted(names)


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()  # PEP 503


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return [*lines, *("| " + " | ".join(escaped(cell) for cell in row) + " |" for row in rows)]
