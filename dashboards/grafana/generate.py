"""Writes the boards as JSON beside this file: `python -m dashboards.grafana.generate`."""

import json
import sys
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards.grafana.overview import overview
from dashboards.grafana.workload import workload

HERE = Path(__file__).parent
MAX_PER_ROW = 6  # of repeated panels; Grafana knows it, the SDK's model does not


def boards() -> dict[str, str]:
    """The text of each file by its name."""
    made = (_plain(builder) for builder in (overview(), workload()))
    return {f"{board['uid']}.json": json.dumps(board, indent=2, ensure_ascii=False) + "\n" for board in made}


def _plain(builder: dashboard.Dashboard) -> dict[str, Any]:
    """The board as plain data, with a number for each panel in reading order."""
    plain: dict[str, Any] = json.loads(json.dumps(builder.build(), cls=JSONEncoder, sort_keys=True))
    panels = [one for panel in plain["panels"] for one in (panel, *panel.get("panels", ()))]
    for number, panel in enumerate(panels, 1):
        panel["id"] = number
        if "repeat" in panel:
            panel["maxPerRow"] = MAX_PER_ROW
    return plain


def main() -> None:
    for name, text in boards().items():
        (HERE / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"{HERE / name}\n")


if __name__ == "__main__":
    main()
