"""Fill the templates of pages and cards."""

from typing import Any

import jinja2

SHARED = "srgan.pages"


def render(name: str, /, *, package: str, autoescape: bool = True, **values: Any) -> str:
    """Return a template with its values. A value that is missing is an error.

    Args:
        name: file of the template.
        package: whose folder ``templates`` has the file. The files of ``pages/templates`` can be included.
        autoescape: escape the values for HTML.
        values: by name.
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(folder, "templates") for folder in dict.fromkeys([package, SHARED])]),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=not autoescape,
        keep_trailing_newline=not autoescape,
    )
    return environment.get_template(name).render(**values)
