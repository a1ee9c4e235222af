"""The index of workloads against asking one after the other."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from hypothesis import given
from hypothesis import strategies as st

from exporter.config import Workload
from exporter.ledger.snapshot import SeriesKey
from exporter.reconcile.matching import Names, matches, workload_of

values = st.sampled_from(["a", "b", "ab", "a*", "[ab]", "", "A"])
globs = st.sampled_from(["a", "b", "*", "a*", "?", "[ab]", "[[]ab]", "ab", ""])
names = st.sampled_from(["provider", "model", "collector", "team", "namespace", "owner"])
workloads = st.lists(st.dictionaries(names, globs, max_size=3), max_size=6).map(
    lambda each: tuple(Workload(f"w{at}", match) for at, match in enumerate(each))
)
keys = st.builds(
    lambda provider, model, labels: SeriesKey("c", "s", "api", provider, model, labels=tuple(labels.items())),
    values,
    values,
    st.dictionaries(names, values, max_size=3),
)


def one_by_one(key: SeriesKey, workloads: Sequence[Workload]) -> str:
    fields = {"provider": key.provider, "model": key.model, "collector": key.collector, **dict(key.labels)}
    for workload in workloads:
        if all(name in fields and fnmatchcase(fields[name], glob) for name, glob in workload.match.items()):
            return workload.name
    if fields.get("namespace") and fields.get("owner"):
        return f"{fields['namespace']}/{fields['owner']}"
    return key.model


@given(workloads, st.lists(keys, max_size=4))
def test_the_first_workload_that_matches_counts(workloads: tuple[Workload, ...], keys: list[SeriesKey]) -> None:
    index = Names(workloads)
    for key in (*keys, *keys):
        assert index.of(key) == workload_of(key, workloads) == one_by_one(key, workloads)


@given(globs, values)
def test_globs_are_those_of_fnmatch(glob: str, value: str) -> None:
    assert matches({"x": glob}, {"x": value}) == fnmatchcase(value, glob)
