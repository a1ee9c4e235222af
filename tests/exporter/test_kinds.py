"""A further kind is one file and one line: the exporter treats it by its traits."""

from dataclasses import dataclass, replace

import pytest

from collectors.engines.vllm import VllmSettings
from collectors.kinds import COLLECTORS, kind_of
from collectors.settings import Reads
from collectors.usage.log import UsageLogSettings
from collectors.usage.openai import OpenAISettings
from exporter.config import Config
from exporter.config.sources import read_twice
from exporter.reconcile.matching import accounts_of
from exporter.reconcile.waterfall import on_bill
from exporter.renames import replaced_warnings, sources_of
from exporter.runner import discovers


@dataclass(frozen=True, slots=True)
class AcmeSettings:
    """A provider's account, named by a tenant."""

    name: str
    tenant: str
    kind: str = "acme"
    role: str = "meter"

    def reads(self) -> tuple[Reads, ...]:
        return (Reads(("tenant",), ("acme", self.tenant.lower()), "{}; stop", self.tenant),)


@pytest.fixture(autouse=True)
def acme(monkeypatch: pytest.MonkeyPatch) -> None:
    line = replace(COLLECTORS["openai"], factory="nowhere:Acme", unbilled_tiers=("free",))
    monkeypatch.setitem(COLLECTORS, "acme", line)


def test_a_further_provider_is_an_account_of_what_it_bills() -> None:
    config = Config(collectors=(AcmeSettings("a", "x"), OpenAISettings("o", "openai", "/k")))
    assert accounts_of(config) == {"a", "o"} and accounts_of(config, "acme") == {"a"}
    assert accounts_of(config, "anthropic") == set()
    assert not on_bill("acme", "free") and on_bill("acme", "default") and on_bill("openai", "free")


def test_a_further_provider_is_read_once() -> None:
    settings = [
        AcmeSettings("a", "x"),
        AcmeSettings("b", "y"),
        AcmeSettings("c", "X"),
        AcmeSettings("d", "x", role="check"),
    ]
    (problem,) = read_twice([(("collectors", i), one) for i, one in enumerate(settings)])
    assert str(problem) == (
        "collectors[2].tenant: expected a source that nothing else reads, got that of collectors[0].tenant: 'X'; stop"
    )


def test_a_further_provider_under_another_name_is_said() -> None:
    kept, configured = (
        sources_of(Config(collectors=(one,))) for one in (AcmeSettings("a", "x"), AcmeSettings("b", "y"))
    )
    (warning,) = replaced_warnings(kept, configured)
    assert "if both are one account" in warning
    (warning,) = replaced_warnings(kept, sources_of(Config(collectors=(AcmeSettings("a", "y"),))))
    assert warning.endswith("its days replace those that are read again")


def test_of_a_kind_that_is_not_in_the_table_nothing_is_known() -> None:
    assert on_bill("nobody", "priority") and kind_of("nobody").history == ""
    other = replace(AcmeSettings("a", "x"), kind="nobody")
    assert accounts_of(Config(collectors=(other,))) == set() and not discovers(other)


@pytest.mark.parametrize(
    ("settings", "digest"),
    [
        (UsageLogSettings(name="l", kind="usage_log", path="/var/log/llm/*.jsonl"), "8778d40d1bdaf67c50613635d499bba2"),
        (OpenAISettings("o", "openai", "/run//key"), "dc607e51666914becbe16e1dbfd7969c"),
        (VllmSettings(name="v", kind="vllm", discover="k"), "709481a36abc8202b99c6c867abe019e"),
    ],
)
def test_sources_are_known_to_the_ledgers_that_there_are(settings: object, digest: str) -> None:
    (source,) = sources_of(Config(collectors=(settings,))).values()
    assert source.reads == {digest}
