"""Request ids: found again within the horizon and the bound, wherever they were read, and said to be lost beyond."""

from array import array
from base64 import b64encode
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.usage.duplicates import MAX_SAVED, RequestId, Saved, Seen, keys_of
from collectors.usage.positions import Cursor, parse
from tests.collectors.usage.log_follower import NOW, Follower, line, lines


def test_ids_survive_a_cursor() -> None:
    seen = Seen(7200)
    seen.advance(NOW, NOW)
    assert not any(seen.repeats(f"id-{n}", NOW) for n in range(1000))
    fresh, counted = seen.take()
    assert sum(map(len, fresh.keys.values())) == 8000 and not counted
    other = Seen(7200)
    saved = Saved(None)
    assert saved.met() is None
    saved.add(fresh, 0)
    known = parse(Cursor(0, 0, "", 0, "", met=saved.met()).text()).met
    assert known is not None
    other.learn(known, NOW)
    assert all(other.repeats(f"id-{n}", NOW) for n in range(1000)) and not other.repeats("id-1000", NOW)


def former(ids: dict[int, int]) -> str:
    """Slots by key as the release before kept them: base64 of the keys, then of the slots."""
    packed = array("Q", ids).tobytes() + array("q", ids.values()).tobytes()
    return Cursor(1, 1, "", 0, "").text()[:-1] + f',"ids":"{b64encode(packed).decode()}"}}'


def test_the_ids_of_a_former_cursor_are_kept_by_slot() -> None:
    slots = {key: NOW - 300 * (key % 3) for key in range(2**63, 2**63 + 9)}
    met = parse(former(slots)).met
    assert met is not None and (met.newest, met.lost) == (NOW, 0)
    assert {key: slot for slot, keys in met.keys.items() for key in array("Q", keys)} == slots


def test_a_former_cursor_that_was_full_may_lack_ids() -> None:
    met = parse(former({key: NOW + 300 * (key >= 10) for key in range(MAX_SAVED)})).met
    assert met is not None and met.newest == met.lost == NOW + 300


FORMER_CURSOR = (  # of lines(range(10)) and line(3), as the release before request ids were kept by slot wrote it
    '{"offset":1826,"lines":11,"head":"624525cdf87e1252d5654b06e17bf4dc","head_length":1024,'
    '"tail":"05722b15d4d8f0e943ea99bca53d127e","format":"llmcost","stat":[65024,2343640,1826,1795247611992631723],'
    '"ids":"pysIGu216cYxGw9tXZyJ+4tKBvSN5im8HXoBgz3PSYG+72UdLRNpMyjfYmqdOgkOko5r801AqUkEvmyE/WnJdJWj0xQs/pn2A5PUY5zX+cvY'
    'dbBqAAAAANh1sGoAAAAA2HWwagAAAADYdbBqAAAAANh1sGoAAAAA2HWwagAAAADYdbBqAAAAANh1sGoAAAAA2HWwagAAAADYdbBqAAAAAA=="}'
)


def test_request_ids_of_a_former_cursor_are_still_known(tmp_path: Path) -> None:
    path = tmp_path / "usage.jsonl"
    path.write_bytes(lines(range(10)) + line(3) + lines(range(5, 12)))
    log = Follower(path, duplicates="possible")
    log.cursors["624525cdf87e1252d5654b06e17bf4dc.0"] = FORMER_CURSOR
    log.read()
    assert log.requests == 2 and log.rejected == {"duplicate": 5}
    log.restart()
    with path.open("ab") as file:
        file.write(lines(range(13)))  # the ids are in a cursor of today's form now
    assert log.read().requests == 3 and log.rejected == {"duplicate": 17}
    assert '"ids"' not in log.cursors["624525cdf87e1252d5654b06e17bf4dc.0"]


@pytest.mark.parametrize("ids", ["~", "pysIGu216cY=", "pysIGg=="])
def test_a_former_cursor_with_damaged_ids_is_an_error(ids: str) -> None:
    with pytest.raises(ValueError, match="not the cursor of a log file"):
        parse(Cursor(1, 1, "", 0, "").text()[:-1] + f',"ids":"{ids}"}}')


@given(st.lists(st.one_of(st.none(), st.text(max_size=5), st.integers(0, 9)), max_size=8))
def test_keys_of_many_ids_are_those_of_each(ids: list[RequestId]) -> None:
    keys = [None if one is None or one == "" else text_key(str(one).encode()) for one in ids]
    assert list(keys_of(ids)) == keys


def text_key(text: bytes) -> int:
    return crc32(text) | crc32(bytes(reversed(text))) << 32


ROWS_WITH_IDS = st.lists(st.tuples(st.integers(0, 12), st.integers(-6, 6)), max_size=12)


def judged(seen: Seen, rows: list[tuple[int, int]]) -> list[bool]:
    kept = []
    for number, shift in rows:
        seen.advance(NOW + shift * 300, NOW)
        kept.append(seen.repeats(f"id-{number}", NOW + shift * 300))
    return kept


@settings(max_examples=300)
@given(ROWS_WITH_IDS, st.lists(ROWS_WITH_IDS, max_size=3))
def test_pieces_that_agree_were_judged_as_in_order(before: list[Any], pieces: list[list[Any]]) -> None:
    whole = Seen(900)
    judged(whole, before)
    whole.take()
    in_order = Seen(900)
    judged(in_order, before)
    in_order.take()
    for piece in pieces:
        seen = Seen(900)
        apart = judged(seen, piece)
        fresh, counted = seen.take()
        known = whole.met()
        accepted = whole.accept(fresh, NOW)
        expected = judged(in_order, piece)
        met, counted_in_order = in_order.take()
        if accepted is None:
            assert whole.met().keys == known.keys
            whole.learn(met, NOW)
        else:
            assert apart == expected and counted == counted_in_order
        assert {slot: sorted(array("Q", keys)) for slot, keys in whole.met().keys.items()} == {
            slot: sorted(array("Q", keys)) for slot, keys in in_order.met().keys.items()
        }


def test_a_time_in_the_future_does_not_end_the_horizon() -> None:
    seen = Seen(7200)
    seen.advance(NOW + 10**6, NOW)
    assert not seen.repeats("a", NOW - 300) and seen.repeats("a", NOW - 300)


@pytest.mark.parametrize("pattern", ["req-{}", "chatcmpl-{:012d}"])
def test_sequential_ids_do_not_share_keys(pattern: str) -> None:
    seen = Seen(7200)
    seen.advance(NOW, NOW)
    assert not any(seen.repeats(pattern.format(n), NOW) for n in range(1_000_000))


SLOTTED = st.lists(st.tuples(st.integers(0, 40), st.integers(-4, 0)), max_size=80)


class Model:
    """The ids of the horizon, at most `limit`, oldest slot first and first read first within it, one by one."""

    def __init__(self, horizon: int, limit: int) -> None:
        self.horizon, self.limit = horizon, limit
        self.known: dict[str, tuple[int, int]] = {}
        self.newest = self.lost = self.beyond = 0

    def repeats(self, name: str, slot: int, number: int) -> bool:
        self.newest = max(self.newest, slot)
        self.known = {one: at for one, at in self.known.items() if at[0] >= self.newest - self.horizon}
        if slot < self.newest - self.horizon:
            self.beyond += 1
            return False
        if name in self.known:
            return True
        self.beyond += slot <= self.lost
        self.known[name] = slot, number
        if len(self.known) > self.limit:
            keep = self.limit - self.limit // 16
            for old in sorted(self.known, key=lambda one: self.known[one])[:-keep]:
                self.lost = max(self.lost, self.known.pop(old)[0])
        return False


@settings(max_examples=200)
@given(SLOTTED, st.integers(1, 20))
def test_the_number_of_ids_is_bounded_and_within_it_repeats_are_found_exactly(
    rows: list[tuple[int, int]], limit: int
) -> None:
    seen, model = Seen(900, limit), Model(900, limit)
    for number, (name, shift) in enumerate(rows):
        slot = NOW + shift * 300
        seen.advance(slot, NOW)
        assert seen.repeats(f"id-{name}", slot) == model.repeats(f"id-{name}", slot, number)
        assert len(seen) <= limit and sum(map(len, seen.met().keys.values())) == 8 * len(seen)
    _, counted = seen.take()
    assert counted.get("beyond_duplicate_horizon", 0) == model.beyond


@settings(max_examples=100)
@given(SLOTTED, st.integers(1, 30))
def test_by_the_block_as_one_by_one(rows: list[tuple[int, int]], size: int) -> None:
    one, block = Seen(900), Seen(900)
    for start in range(0, len(rows), size):
        slot = NOW + rows[start][1] * 300
        run = [Row(f"id-{name}") for name, _ in rows[start : start + size]]
        one.advance(slot, NOW)
        block.advance(slot, NOW)
        kept = [row for row in run if not one.repeats(row.id, slot)]
        assert sorted(map(id, block.unmet(run, slot))) == sorted(map(id, kept))
    assert one.take()[1] == block.take()[1]
    assert len(one) == len(block)


class Row:
    def __init__(self, name: str) -> None:
        self.id = name
