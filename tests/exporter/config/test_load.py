"""Loading a config: every mistake at once by its path, secrets hidden, defaults by role, examples that load."""

import pickle
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from textwrap import dedent

import pytest
import yaml

from collectors.settings import Duration, Money
from exporter.commands.serve import quick_config
from exporter.config import ROLE_PRESETS, Config, ConfigError, DecisionSettings, EnterRatios, Publish, Storage
from exporter.config.cross import warnings
from exporter.config.dump import describe, dump
from exporter.config.load import load, load_aside, load_document, read

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[2] / "deploy" / "examples"
BAD = sorted((HERE / "bad_configs").glob("*.yaml"))

ENGINE = '{name: engine, kind: vllm, targets: ["http://127.0.0.1:8000/metrics"]}'
LOG = '{name: gateway, kind: usage_log, path: "/var/log/llm/*.jsonl", serves: self_hosted%s}'


def loaded(tmp_path: Path, text: str, **environ: str) -> Config:
    path = tmp_path / "config.yaml"
    path.write_text(dedent(text))
    return load(path, environ)


def problems(tmp_path: Path, text: str, **environ: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text, **environ)
    return caught.value.problems


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_config_is_reported_line_by_line(path: Path) -> None:
    expected = path.with_suffix(".txt").read_text().splitlines()
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert [line.replace(f"{path.parent}/", "") for line in caught.value.problems] == expected


def test_the_folder_of_bad_configs_is_complete() -> None:
    assert len(BAD) >= 25
    assert {path.stem for path in (HERE / "bad_configs").glob("*.txt")} == {path.stem for path in BAD}


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ("", "collectors[0].bucket"),
        ("bucket: s3://exports", "collectors[0].bucket"),
        ("bucket: exports, periods: 0", "collectors[0].periods"),
        ("bucket: exports, role_arn: role", "collectors[0].role_arn"),
    ],
)
def test_what_a_collector_says_of_one_of_its_keys_is_said_at_the_key(tmp_path: Path, settings: str, place: str) -> None:
    export = f"{{name: bill, kind: aws_data_export, export: gpus, {settings}}}"
    (problem,) = problems(tmp_path, f"collectors: [{export}]")
    assert problem.startswith(f"{place}: expected ")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.yaml: cannot be read: No such file"):
        load(tmp_path / "no.yaml")
    (tmp_path / "latin1.yaml").write_bytes(b"role: \xe9")
    with pytest.raises(ConfigError, match="expected UTF-8 text, got something else at byte 6"):
        load(tmp_path / "latin1.yaml")


@pytest.mark.parametrize("name", ["sidecar", "cluster", "quickstart"])
def test_the_examples_load_without_a_warning(name: str) -> None:
    config = load(EXAMPLES / f"{name}.yaml", {"WORKLOAD": "chat"})
    assert warnings(config) == []


def test_the_quickstart_options_are_the_quickstart_file() -> None:
    options = quick_config(
        engines=("http://127.0.0.1:8000/metrics",),
        gpu_usd_per_hour=Decimal("2.49"),
        gpus=None,
        alternatives=("api:together/meta-llama/Llama-3.3-70B-Instruct-Turbo",),
    )
    assert options == load(EXAMPLES / "quickstart.yaml")


def test_the_quickstart_options_are_named_in_errors() -> None:
    with pytest.raises(ConfigError) as caught:
        quick_config(("127.0.0.1:8000",), Decimal(1), None, ("gpt-4o",))
    assert caught.value.problems == (
        "--engine: expected an http:// or https:// URL, got '127.0.0.1:8000'",
        "--alternative: expected '<provider>/<model>', got 'gpt-4o'",
    )


def test_a_role_changes_defaults_and_nothing_else(tmp_path: Path) -> None:
    sidecar = loaded(tmp_path, f"role: sidecar\ncollectors: [{ENGINE}]")
    cluster = loaded(tmp_path, f"collectors: [{ENGINE}]")
    assert cluster.role == "cluster"
    assert sidecar.publish == Publish(windows=("1h",), decisions=False, accrue_fixed_costs=False)
    assert sidecar.storage == Storage(retain=Duration(35 * 86400))
    assert replace(sidecar, role="cluster", publish=Publish(), storage=Storage()) == cluster
    assert ROLE_PRESETS["cluster"] == {}


def test_what_is_written_wins_over_the_role(tmp_path: Path) -> None:
    config = loaded(tmp_path, f"role: sidecar\npublish: {{windows: [24h]}}\ncollectors: [{ENGINE}]")
    assert config.publish == Publish(windows=("24h",), decisions=False, accrue_fixed_costs=False)


def test_a_workload_inherits_the_decision_it_does_not_name(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        f"""
        collectors: [{ENGINE}]
        decision: {{ratio_window: 1d, enter: {{api: "0.8"}}}}
        workloads:
          - {{name: own, match: {{model: a}}, decision: {{sustain: 1h, enter: {{self_hosting: "1.3"}}}}}}
          - {{name: common, match: {{model: b}}}}
        """,
    )
    enter = EnterRatios(self_hosting=Money("1.3"), api=Money("0.8"))
    own = DecisionSettings(ratio_window=Duration(86400), sustain=Duration(3600), enter=enter)
    assert [workload.decision for workload in config.workloads] == [own, None]


def test_a_wrong_inherited_decision_is_reported_once(tmp_path: Path) -> None:
    text = f"""
        collectors: [{ENGINE}]
        decision: {{evaluate_every: 7s, enter: {{api: "1.5"}}}}
        workloads: [{{name: own, match: {{model: a}}, decision: {{sustain: 1h}}}}]
        """
    assert len(problems(tmp_path, text)) == 2


def test_values_arrive_as_exact_decimals_and_seconds(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        """
        collectors:
          - name: gpus
            kind: rate_card
            interval: 1h30m
            rates: [{workload: a, usd_per_hour: "2.490", from: 2026-01-01}]
        fx: {EUR: "1.08"}
        """,
    )
    (gpus,) = config.collectors
    assert (gpus.interval, str(gpus.rates[0].usd_per_hour), gpus.rates[0].from_) == (5400, "2.490", 1767225600)
    assert config.usd_rates == {"USD": 1, "EUR": Decimal("1.08")}


def test_environment_references_are_replaced_in_values_only(tmp_path: Path) -> None:
    text = """
        collectors:
          - name: e
            kind: vllm
            targets: ["http://${HOST}/metrics"]
            labels: {team: "$${HOST}", "${HOST}": "$HOST"}
        """
    (engine,) = loaded(tmp_path, text, HOST="h:1").collectors
    assert engine.targets == ("http://h:1/metrics",)
    assert dict(engine.labels) == {"team": "${HOST}", "${HOST}": "$HOST"}


def test_a_value_from_the_environment_is_in_no_error_and_no_dump(tmp_path: Path) -> None:
    found = problems(tmp_path, f"collectors: [{ENGINE}]\nstorage: {{retain: '${{SECRET}}'}}", SECRET="hunter2")
    assert found == ("storage.retain: expected a duration like '15m', got '${SECRET}'",)
    path = tmp_path / "config.yaml"
    path.write_text(
        """collectors: [{name: e, kind: vllm, targets: ["http://me:hunter1@h/metrics", "http://${USER}@h2/"], """
        """labels: {api_key: hunter0}}]"""
    )
    text, _ = describe(str(path), {"USER": "me:hunter2"})
    assert "hunter" not in text
    targets = yaml.safe_load(text)["collectors"][0]["targets"]
    assert targets == ["http://<hidden>@h/metrics", "http://${USER}@h2/"]


@pytest.mark.parametrize("name", ["cluster", "quickstart"])
def test_a_dump_loads_as_the_same_config(name: str, tmp_path: Path) -> None:
    document = read(EXAMPLES / f"{name}.yaml")
    config = load_document(document)
    (tmp_path / "dump.yaml").write_text(dump(config, document))
    assert load(tmp_path / "dump.yaml") == config


def test_anchors_and_merges_are_yaml_like_any_other(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        """
        collectors:
          - &engine {name: a, kind: vllm, targets: ["http://h:1/metrics"], interval: 5s}
          - {<<: *engine, name: b, targets: ["http://h:2/metrics"]}
          - {<<: *engine, name: c, targets: ["http://h:3/metrics"]}
        """,
    )
    assert [(each.name, int(each.interval)) for each in config.collectors] == [("a", 5), ("b", 5), ("c", 5)]


def test_an_alias_of_itself_is_an_error(tmp_path: Path) -> None:
    found = problems(tmp_path, f"collectors: [{ENGINE}]\nfx: &x {{EUR: *x}}")
    assert found[0] == "fx.EUR: expected a value, got an alias of what it is part of"


def test_a_config_error_crosses_a_process_boundary_whole() -> None:
    error = ConfigError(["a: b", "c: d"])
    again = pickle.loads(pickle.dumps(error))
    assert (again.problems, str(again)) == (("a: b", "c: d"), "a: b\nc: d")


def test_loading_aside_gives_the_same_and_imports_nothing_here() -> None:
    script = (
        "import sys\n"
        "from exporter.config.load import load_aside\n"
        "config = load_aside(sys.argv[1], {})\n"
        "assert config.collectors\n"
        "try: load_aside(sys.argv[2], {})\n"
        "except ValueError as error: assert len(error.problems) > 10\n"
        "print([name for name in ('pydantic', 'yaml') if name in sys.modules])\n"
    )
    arguments = [str(EXAMPLES / "quickstart.yaml"), str(HERE / "bad_configs" / "everything-at-once.yaml")]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert load_aside(EXAMPLES / "quickstart.yaml") == load(EXAMPLES / "quickstart.yaml")


@pytest.mark.parametrize(
    ("match", "role", "sure", "unsure"),
    [
        ("{model: 'llama-*'}", "", 1, 0),
        ("{collector: '*'}", "", 1, 0),
        ("{model: 'llama-*'}", ", role: check", 0, 0),
        ("{collector: engine}", "", 0, 0),
        ("{collector: gateway}", "", 0, 0),
        ("{team: chat}", "", 0, 1),
        ("{provider: vllm, model: a}", "", 0, 1),
    ],
)
def test_two_meters_for_the_same_traffic(match: str, role: str, sure: int, unsure: int, tmp_path: Path) -> None:
    text = f"collectors: [{ENGINE}, {LOG % role}]\nworkloads: [{{name: chat, match: {match}}}]"
    if sure:
        (found,) = problems(tmp_path, text)
        said = "collectors[1].role: expected 'check', got 'meter': collectors[0] (engine) meters workload 'chat' too"
        assert found == f"{said}; or match by collector"
    else:
        assert len(warnings(loaded(tmp_path, text))) == unsure


def test_a_workload_that_takes_all_of_the_engine_keeps_it_from_a_later_one(tmp_path: Path) -> None:
    workloads = "{name: engine, match: {collector: engine}}, {name: rest, match: {model: '*'}}"
    config = loaded(tmp_path, f"collectors: [{ENGINE}, {LOG % ''}]\nworkloads: [{workloads}]")
    assert warnings(config) == []


def test_an_engine_that_is_listed_has_no_labels_but_its_own(tmp_path: Path) -> None:
    """So a workload by label is none of its, and the log that feeds that one shares nothing with it."""
    workloads = "{name: chat, match: {app: chat}}, {name: engine, match: {collector: engine}}"
    text = f"collectors: [%s, {LOG % ''}]\nworkloads: [{workloads}]"
    assert warnings(loaded(tmp_path, text % ENGINE)) == []
    labelled = ENGINE.replace("kind: vllm", "kind: vllm, labels: {app: chat}")
    assert len(warnings(loaded(tmp_path, text % labelled))) == 1
    found = "{name: k8s, kind: kubernetes}, {name: engine, kind: vllm, discover: k8s}"
    assert len(warnings(loaded(tmp_path, text % found))) == 1


LEAKS = [
    "http://user:hunt@er2@host/metrics",
    "http://host/metrics?auth=hunter2",
    "http://user:hunt@er2@host:port/metrics?auth=hunter2",
    "http://user:hunt/er2@host/metrics",
    "http://user:hunt er2@host/metrics",
    "ftp://user:hunt@er2@host/metrics?auth=hunter2",
]


@pytest.mark.parametrize("target", LEAKS)
def test_secrets_in_a_target_are_in_no_print_and_no_error(target: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    one = f'{{name: e, kind: vllm, targets: ["{target}"], interval: %s}}'
    for text in (one % "15s", one % "soon", f"{one % '15s'}, {(one % '15s').replace('name: e', 'name: f')}"):
        path.write_text(f"collectors: [{text}]")
        try:
            said, _ = describe(str(path), {})
        except ConfigError as error:
            said = str(error)
        assert "hunt" not in said
        assert "er2" not in said


COUNTED = "{name: gpus, kind: rate_card, rates: [{workload: chat, usd_per_hour: 1, count: %s, resources: %s}]}"
BILL = "{name: bill, kind: focus, path: '/x/*.csv'}"


@pytest.mark.parametrize(
    ("collectors", "warned"),
    [
        (f"{COUNTED % (2, [])}, {BILL}", True),
        (f"{COUNTED % (2, '[i-1, i-2]')}, {BILL}", False),
        (f"{COUNTED % (1, [])}, {BILL}", False),
        (COUNTED % (2, []), False),
    ],
)
def test_a_card_for_several_gpus_beside_a_bill_should_list_them(collectors: str, warned: bool, tmp_path: Path) -> None:
    text = f"collectors: [{collectors}]\nworkloads: [{{name: chat, match: {{model: a}}}}]"
    found = warnings(loaded(tmp_path, text))
    assert len(found) == warned
    if warned:
        assert found[0].startswith("collectors[0].rates[0].resources: one billed resource would replace the whole card")


def test_a_card_for_a_workload_that_is_not_configured_is_a_warning(tmp_path: Path) -> None:
    config = loaded(tmp_path, "collectors: [{name: gpus, kind: rate_card, rates: [{workload: x, usd_per_hour: 1}]}]")
    (warning,) = warnings(config)
    assert warning.startswith("collectors[0].rates[0].workload: no configured workload has the name 'x'")
