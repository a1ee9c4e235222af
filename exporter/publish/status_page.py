"""The status page as HTML. Imports jinja2 (4 MB): only to be imported when the page is asked for."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from exporter.publish.state import PublishState
from exporter.publish.view import status_view


def render(state: PublishState) -> str:
    """The page for `state`; everything from outside (names, errors) is escaped."""
    return _template().render(view=status_view(state))


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("exporter.publish"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("status.html")
