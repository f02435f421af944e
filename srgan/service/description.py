"""The page ``/docs`` of a service: its OpenAPI description without a script, so that it needs no other server."""

from collections.abc import Iterator
from typing import Any

from srgan.pages.render import render


def page(description: dict[str, Any], address: str) -> str:
    """Return the page.

    Args:
        description: of a service, as OpenAPI.
        address: of the service, with a slash at its end.
    """
    requests = list(_requests(description["paths"]))
    return render("description.html", package="srgan.service", info=description["info"], requests=requests, address=address)


def _requests(paths: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path, methods in paths.items():
        for method, request in methods.items():
            yield {
                "name": f"{method.upper()} {path}",
                "description": request["description"],
                "takes_image": "requestBody" in request,
                "needs_token": bool(request.get("security")),
                "parameters": [_parameter(one) for one in request.get("parameters", ()) if one["in"] == "query"],
                "statuses": [(status, one["description"]) for status, one in request["responses"].items()],
            }


def _parameter(parameter: dict[str, Any]) -> dict[str, str]:
    schema = parameter["schema"]
    kind = next(one for one in schema.get("anyOf", [schema]) if one["type"] != "null")
    if "enum" in kind:
        values = " ".join(kind["enum"])
    elif "maximum" in kind:
        values = f"{kind['minimum']} to {kind['maximum']}"
    else:
        values = "true false" if kind["type"] == "boolean" else kind["type"]
    default = str(schema.get("default", "")).lower() if "default" in schema else ""
    return {"name": parameter["name"], "values": values, "default": default, "description": parameter["description"]}
