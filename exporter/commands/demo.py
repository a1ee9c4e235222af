"""`demo`: the exporter on real recorded data, with stand-ins for the gateways, the engine and the invoice."""

import logging
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

_LOOK_AT = """\
status page  {url}/
metrics      {url}/metrics
config       {config} (an ordinary config file: read it, copy it)

What to look at:
- assistant is clearly cheaper self-hosted, summaries by API: the status page has the break-even ratio of each.
- support has just lost its load: within 5 minutes its llmcost_break_even_status turns to api_cheaper, and half an hour
  later back. Why: llm-cost-exporter explain support --config.file {config}
- tiny-llama is a recorded real vLLM, too young for a verdict: its status stays unknown for a day, its cost does not.
"""


@click.command()
@click.option(
    "--web.listen-address", "listen", default="127.0.0.1:9482", show_default=True, help="Where to serve, HOST:PORT."
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the demo's files and ledger live, and stay.  [default: a new directory, removed at the end]",
)
@click.option(
    "--speed", type=click.FloatRange(min=1, max=600), default=1, show_default=True, help="Times as fast as real time."
)
def demo(listen: str, data_dir: Path | None, speed: float) -> None:
    """Serve five workloads on real recorded traffic; one crosses break-even within minutes. Ctrl-C ends it."""
    from exporter.commands.configured import configured
    from exporter.commands.logs import set_up
    from exporter.demo import prepare
    from exporter.service import Clock, serve

    set_up("warn", "logfmt")
    if speed > 1:  # intervals shorter than what they run: runs are skipped, and a warning for each helps nobody
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
    clock = Clock(speed)
    with ExitStack() as stack:
        directory = data_dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="llm-cost-exporter-demo-")))
        directory.mkdir(parents=True, exist_ok=True)
        upstreams = prepare(directory.resolve(), int(clock()), clock)
        stack.callback(upstreams.stop)
        upstreams.start()
        config = upstreams.config_path
        serve(configured(config), listen, clock, lambda url: click.echo(_LOOK_AT.format(url=url, config=config)))
