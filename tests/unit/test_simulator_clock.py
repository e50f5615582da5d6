from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer_simulator.clock import Due, EventHeap


@given(st.lists(st.integers(0, 5)))
def test_what_is_due_comes_in_order_of_time_and_then_of_pushing(times: list[int]) -> None:
    heap: EventHeap[int] = EventHeap()
    for number, at in enumerate(times):
        heap.push(at, number)
    popped = [heap.pop() for _ in times]
    assert popped == [Due(at, number) for at, number in sorted(zip(times, range(99), strict=False))]
    assert not heap


def test_things_at_one_time_are_never_compared() -> None:
    heap: EventHeap[dict[str, int]] = EventHeap()
    heap.push(7, {"first": 1})
    heap.push(7, {"second": 2})
    assert [heap.pop().item, heap.pop().item] == [{"first": 1}, {"second": 2}]


def test_the_order_of_equal_times_outlives_what_was_popped_between() -> None:
    heap: EventHeap[str] = EventHeap()
    heap.push(1, "a")
    heap.push(2, "b")
    assert heap.pop() == Due(1, "a")
    heap.push(2, "c")
    assert [heap.pop().item, heap.pop().item] == ["b", "c"]


def test_next_at_looks_without_taking() -> None:
    heap: EventHeap[str] = EventHeap()
    heap.push(9, "later")
    heap.push(3, "sooner")
    assert heap.next_at == 3
    assert heap.next_at == 3
    assert heap
    with pytest.raises(IndexError):
        _ = EventHeap[str]().next_at
