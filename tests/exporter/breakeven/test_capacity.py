from decimal import Decimal as D
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from collectors.records import DAY, SLOT, EngineLoad
from exporter.breakeven.capacity import Saturation, workload_capacity

NOW = 1_795_000_200 // SLOT * SLOT


def load(i: int, seconds: int, tokens: int) -> EngineLoad:
    """The i-th slot before NOW."""
    return EngineLoad(slot=NOW - i * SLOT, model="m", seconds=SLOT, saturated_seconds=seconds, saturated_tokens=tokens)


def test_the_plateau_of_a_series_shaped_like_the_recorded_saturation() -> None:
    """The recorded series: idle about 130 tokens/s, normal about 1,100, and 17 gated 15 s windows at 2,601 to 2,649
    (4 min of overload). Five such overloads, each a slot of 240 saturated seconds, among idle and normal slots and one
    slot with a burst too short to be a sample."""
    plateau = [2601, 2649, 2628, 2633, 2615]
    overloads = [load(10 * i, 240, 240 * rate) for i, rate in enumerate(plateau, 1)]
    others = [load(i, 0, 0) for i in range(60, 90)] + [load(99, 45, 45 * 9000)]
    assert Saturation(overloads + others).capacity(NOW) == (D(2649), 5)


def test_one_burst_of_thrash_does_not_pull_the_estimate_down_nor_a_lump_up() -> None:
    steady = [load(i, 300, 300 * 2600) for i in range(1, 19)]
    thrash, lump = load(30, 300, 300 * 40), load(31, 60, 60 * 5000)
    assert Saturation([*steady, thrash, lump]).capacity(NOW) == (D(2600), 20)


def test_never_saturated_is_unknown_and_two_samples_are_too_few() -> None:
    assert Saturation([]).capacity(NOW) == (None, 0)
    assert Saturation([load(i, 0, 0) for i in range(1, 50)]).capacity(NOW) == (None, 0)
    assert Saturation([load(1, 300, 300), load(2, 300, 300)]).capacity(NOW) == (None, 2)
    assert Saturation([load(i, 300, 300) for i in (1, 2, 3)]).capacity(NOW) == (D(1), 3)


def test_a_sample_needs_sixty_saturated_seconds_and_progress() -> None:
    assert Saturation([load(i, 59, 59_000) for i in range(1, 9)]).capacity(NOW) == (None, 0)
    assert Saturation([load(i, 60, 60_000) for i in range(1, 9)]).capacity(NOW) == (D(1000), 8)
    assert Saturation([load(i, 300, 0) for i in range(1, 9)]).capacity(NOW) == (None, 0)


def test_samples_are_of_the_last_seven_days_half_open() -> None:
    oldest = 7 * DAY // SLOT
    assert Saturation([load(oldest - i, 60, 60) for i in range(3)]).capacity(NOW) == (D(1), 3)
    assert Saturation([load(oldest + 1, 60, 60), load(2, 60, 60), load(1, 60, 60)]).capacity(NOW) == (None, 2)
    assert Saturation([load(0, 60, 60), load(2, 60, 60), load(1, 60, 60)]).capacity(NOW) == (None, 2)


@given(st.lists(st.integers(1, 100_000), min_size=3, max_size=60), st.randoms())
def test_the_estimate_is_a_sample_at_the_ninetieth_percentile(rates: list[int], random) -> None:
    loads = [load(i, 100, 100 * rate) for i, rate in enumerate(rates, 1)]
    random.shuffle(loads)
    estimate, samples = Saturation(loads).capacity(NOW)
    assert samples == len(rates)
    assert estimate == sorted(rates)[ceil(len(rates) * 9 / 10) - 1]


def test_a_workload_has_the_capacity_of_its_ready_replicas() -> None:
    assert workload_capacity(D("2628.5"), 3) == D("7885.5")
    assert workload_capacity(D(2628), 0) == 0
    assert workload_capacity(None, 3) is None
    assert workload_capacity(D(2628), None) is None
