"""The scan agrees with prometheus_client's parsers on every recorded page and on hostile lines."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from collectors.engines.page import Names, PageError, check, scan
from collectors.engines.vllm_page import NAMES
from tests.collectors.engines.recorded import pages

Row = tuple[str, tuple[tuple[str, str], ...], str]


def theirs(families: Iterable[Metric], names: Names) -> list[Row]:
    """What prometheus_client finds of `names`, under the caller's names."""
    spelled = {}
    for wire, meaning in names.meaning.items():
        name = wire.decode()
        spelled |= {f"{prefix}{name}": meaning for prefix in ("vllm:", "vllm_", "ray_vllm_")}
    spelled |= {"process_start_time_seconds": "start"}
    samples = (sample for family in families for sample in family.samples)
    return sorted(
        (spelled[s.name], tuple(sorted(s.labels.items())), repr(float(s.value))) for s in samples if s.name in spelled
    )


def ours(page: bytes, names: Names) -> list[Row]:
    return sorted((s.name, tuple(sorted(s.labels.items())), repr(s.value)) for s in scan(page, names))


@pytest.mark.parametrize("name", pages())
def test_the_families_the_collector_reads_equal_prometheus_client(name: str) -> None:
    page = pages()[name]
    assert ours(page, NAMES) == theirs(parse_text(page.decode()), NAMES)


@pytest.mark.parametrize("name", [name for name in pages() if name.count("/") == 0])
def test_every_sample_of_a_page_equals_prometheus_client(name: str) -> None:
    page = pages()[name]
    samples = [sample for family in parse_text(page.decode()) for sample in family.samples]
    names = Names("vllm", {}, {sample.name: sample.name for sample in samples})
    want = sorted((s.name, tuple(sorted(s.labels.items())), repr(float(s.value))) for s in samples)
    found = ours(page, names)
    # A name in _total that is announced as something else is left out, everything else is there.
    left_out = {row[0] for row in want} - {row[0] for row in found}
    assert found == [row for row in want if row[0] not in left_out]
    assert all(name.endswith("_total") for name in left_out)


LINES = [
    'vllm:prompt_tokens_total{engine="0",model_name="m"} 5',
    'vllm_prompt_tokens_total{model_name="m"} 5.0',
    'ray_vllm_prompt_tokens_total{WorkerId="ab",model_name="m"} 5',
    'vllm:prompt_tokens_total{model_name="a \\"quoted\\" } name"} 1e3',
    'vllm:prompt_tokens_total{model_name="back\\\\slash\\nline"} 7',
    'vllm:prompt_tokens_total{model_name="} 5"} 6',
    'vllm:prompt_tokens_total{model_name="{x=\\"1\\"}",engine="0"} 6',
    'vllm:prompt_tokens_total{model_name="# {"} 6',
    'vllm:prompt_tokens_total{model_name="Größe/模型"} 6',
    'vllm:prompt_tokens_total{model_name="m"} 5 1795203594360',
    'vllm:prompt_tokens_total{model_name="m"} 5 -1',
    'vllm:prompt_tokens_total{model_name="m",} 5',
    'vllm:prompt_tokens_total {model_name="m"} 5',
    'vllm:prompt_tokens_total{ model_name = "m" , engine = "0" } 5',
    'vllm:prompt_tokens_total{model_name="m"}\t5',
    'vllm:prompt_tokens_total{model_name=""} 5',
    "vllm:prompt_tokens_total{} 5",
    "vllm:prompt_tokens_total 5",
    "  vllm:prompt_tokens_total 5",
    "vllm:prompt_tokens_total NaN",
    "vllm:prompt_tokens_total +Inf",
    "vllm:prompt_tokens_total -Inf",
    'vllm:kv_cache_usage_perc{model_name="m"} NaN',
    "process_start_time_seconds 1.79520359436e+09",
]


@pytest.mark.parametrize("line", LINES)
def test_a_line_in_any_legal_form_equals_prometheus_client(line: str) -> None:
    page = f"# HELP x y\n{line}\n"
    assert ours(page.encode(), NAMES) == theirs(parse_text(page), NAMES)
    assert len(ours(page.encode(), NAMES)) == 1


def test_an_openmetrics_page_with_exemplars_and_eof() -> None:
    page = (
        "# TYPE vllm_prompt_tokens counter\n"
        "# HELP vllm_prompt_tokens Tokens.\n"
        'vllm_prompt_tokens_total{model_name="m"} 5.0 # {trace_id="a} b"} 1.0 1795203594.5\n'
        'vllm_prompt_tokens_created{model_name="m"} 1795203594.5\n'
        "# TYPE vllm_generation_tokens counter\n"
        'vllm_generation_tokens_total{model_name="m"} 7.0 1795203594.5 # {} 0.5\n'
        "vllm_generation_tokens_total 9.0 # {trace_id=\"x\"} 1.0\n"
        "# EOF\n"
    )  # fmt: skip
    assert ours(page.encode(), NAMES) == theirs(parse_openmetrics(page), NAMES)
    check(page.encode(), openmetrics=True)
    check(page.removesuffix("\n").encode(), openmetrics=True)
    with pytest.raises(PageError, match="truncated page: no '# EOF'"):
        check(page.removesuffix("# EOF\n").encode(), openmetrics=True)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z_][a-z0-9_]{0,6}", fullmatch=True),
        st.text(st.characters(blacklist_categories=("Cs", "Cc"), whitelist_characters='\n\\"{}#, '), max_size=12),
        max_size=4,
    ),
    st.floats(),
    st.sampled_from(["", " 1795203594360"]),
)
def test_any_label_values_and_number_come_through(labels: dict[str, str], value: float, timestamp: str) -> None:
    escaped = {k: v.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"") for k, v in labels.items()}
    section = ",".join(f'{key}="{text}"' for key, text in escaped.items())
    page = f"vllm:generation_tokens_total{{{section}}} {value!r}{timestamp}\n".encode()
    (sample,) = scan(page, NAMES)
    assert sample.name == "generation"
    assert sample.labels == labels
    assert repr(sample.value) == repr(value)


def test_only_the_samples_asked_for_match() -> None:
    page = (
        b"# TYPE vllm:iteration_tokens_total histogram\n"
        b'vllm:iteration_tokens_total_bucket{le="+Inf"} 5\n'
        b"vllm:iteration_tokens_total_sum 5\nvllm:iteration_tokens_total_count 5\n"
        b"vllm:prompt_tokens_created 5\nvllm:prompt_tokens_total_created 5\nvllm:prompt_tokens 5\n"
        b"xvllm:prompt_tokens_total 5\nprompt_tokens_total 5\nvllm:prompt_tokens_totals 5\n"
        b"# vllm:prompt_tokens_total 5\n# HELP vllm:prompt_tokens_total Number of tokens.\n"
    )
    assert scan(page, NAMES) == []
    assert scan(page, Names("vllm", {"iteration_tokens_total": "iteration"}, {})) == []


def test_a_total_that_is_announced_as_a_gauge_is_another_metric() -> None:
    """As production-stack's router re-exports them, with another meaning."""
    line = b'vllm:gpu_prefix_cache_hits_total{server="http://10.0.0.1:8000"} 5\n'
    assert scan(b"# TYPE vllm:gpu_prefix_cache_hits_total gauge\n" + line, NAMES) == []
    assert len(scan(b"# TYPE vllm:gpu_prefix_cache_hits_total counter\n" + line, NAMES)) == 1


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (b"", "empty page"),
        (b'vllm:prompt_tokens_total{model_name="m"} 5\nvllm:generation_tok', "truncated page: its last line"),
        (b"vllm:prompt_tokens_total 5", "truncated page: its last line"),
        (b'vllm:prompt_tokens_total{model_name="\xff"} 5\n', "byte 37 is not UTF-8"),
        (b"\x89PNG\r\n\x1a\n", "byte 0 is not UTF-8"),
        (b"vllm:prompt_tokens_total five\n", "cannot parse the line of sample 'prompt': ' five'"),
        (b"vllm:prompt_tokens_total 1_000\n", "cannot parse"),
        (b'vllm:prompt_tokens_total{model_name="m" 5\n', "cannot parse"),
        (b'vllm:prompt_tokens_total{model_name="m} 5\n', "cannot parse"),
        (b"vllm:prompt_tokens_total{model_name=m} 5\n", "cannot parse"),
        (b"vllm:prompt_tokens_total \n", "cannot parse"),
        (b"vllm:prompt_tokens_total 5 6 7\n", "cannot parse"),
    ],
)
def test_a_page_that_cannot_be_trusted_is_rejected_with_a_reason(page: bytes, reason: str) -> None:
    with pytest.raises(PageError, match=reason):
        scan(page, NAMES)


def test_a_page_cut_anywhere_but_behind_a_line_is_rejected() -> None:
    page = pages()["vllm-0.33.0.prom"]
    for end in range(1, len(page), 997):
        if not page[:end].endswith(b"\n"):
            with pytest.raises(PageError):
                scan(page[:end], NAMES)


def test_a_hostile_line_takes_linear_time() -> None:
    """Each of these takes minutes if the expression backtracks."""
    for hostile in (b'{a="' + b"\\" * 100_001, b"{" + b'a="b",' * 30_000, b"{" + b"a" * 200_000, b" " * 200_000):
        with pytest.raises(PageError):
            scan(b"vllm:prompt_tokens_total" + hostile + b"\n", NAMES)
