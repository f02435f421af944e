"""The templates of the pages and cards."""

from typing import Any

import jinja2


def render(name: str, /, *, autoescape: bool = True, **values: Any) -> str:
    """Return a template of ``evaluation/templates`` with its values. A value that is missing is an error.

    Args:
        name: file of the template.
        autoescape: escape the values for HTML.
        values: by name.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("srgan.evaluation", "templates"),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=not autoescape,
        keep_trailing_newline=not autoescape,
    )
    return environment.get_template(name).render(**values)
