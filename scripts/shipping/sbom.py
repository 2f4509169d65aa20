"""The list of components, as CycloneDX 1.6 in JSON."""

import hashlib
import json
import uuid
from datetime import datetime, timezone

from . import facts

EXPRESSION = {"Apache-2.0", "MIT", "BSD-3-Clause", "ISC", "Unicode-3.0"}


def document(program, linked=None):
    """Of a program that is there; the same for the same program, dependencies and libraries."""
    swift, inside, outside = facts.swift_packages(linked), facts.vendored(), facts.libraries(program)
    root = f"pkg:generic/{facts.NAME}@{facts.version()}"
    parents = {component.name: component for component in (*swift, *inside)}
    depends = {root: []}
    for component in (*swift, *inside, *outside):
        depends.setdefault(component.purl, [])
        owner = parents.get(component.within)
        if owner is not None:
            depends.setdefault(owner.purl, []).append(component.purl)
        elif component.is_linked:
            depends[root].append(component.purl)
    made = {
        "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(facts.epoch(), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {
                "type": "application", "bom-ref": root, "name": facts.NAME, "version": facts.version(),
                "description": facts.SUMMARY, "purl": root,
                "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(program.read_bytes()).hexdigest()}]},
            "properties": [{"name": "tailrace:architecture", "value": facts.architecture()}]},
        "components": [
            *(_component(component, "static", "required" if component.is_linked else "excluded")
              for component in swift),
            *(_component(component, "static", "required") for component in inside),
            *(_component(component, "dynamic", "required") for component in outside)],
        "dependencies": [{"ref": ref, "dependsOn": sorted(set(on))} for ref, on in sorted(depends.items())],
    }
    # A name for exactly this content.
    content = json.dumps(made, sort_keys=True)
    return {"serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, content).urn} | made


def _component(component, linked, scope):
    found = {
        "type": "library", "bom-ref": component.purl, "name": component.name, "version": component.version,
        "scope": scope, "purl": component.purl, "licenses": _licences(component.licence),
        "properties": [{"name": "tailrace:linked", "value": linked}]}
    if component.copyright:
        found["copyright"] = component.copyright
    if component.within:
        found["properties"].append({"name": "tailrace:within", "value": component.within})
    if component.revision:
        found["properties"].append({"name": "tailrace:revision", "value": component.revision})
    if component.source:
        found["externalReferences"] = [{"type": "vcs" if linked == "static" else "distribution",
                                        "url": component.source}]
    return found


def _licences(text):
    """One licence by its SPDX id, an expression, or the words that Debian has for it."""
    if text in EXPRESSION:
        return [{"license": {"id": text}}]
    if any(word in text for word in (" AND ", " OR ", " WITH ")):
        return [{"expression": text}]
    return [{"license": {"name": text}}]


def text(program, linked=None):
    return json.dumps(document(program, linked), indent=2) + "\n"
