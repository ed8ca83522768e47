"""The positions in the queue, sorted, against the order that claims make one by one."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tintype.store.queue.positions import claim_order

#: Of three accounts: the first letter is whose.
KEYS = ("a1", "a2", "a3", "b1", "b2", "c1")
# (key, priority) in the order of arrival, and when each key last had its turn: never is 0, and several can be there.
queues = st.lists(st.tuples(st.sampled_from(KEYS), st.integers(0, 2)), min_size=1, max_size=25)
histories = st.permutations(KEYS).flatmap(
    lambda order: st.integers(0, len(KEYS)).map(lambda served: {key: i + 1 for i, key in enumerate(order[:served])})
)


def claimed_in_order(queue: list[tuple[str, int]], history: dict[str, int]) -> list[int]:
    """The sequence numbers as claims take them: what claim's SQL does, one by one."""
    turns, left, order = Counter(history | of_accounts(history)), dict(enumerate(queue, start=1)), []
    while left:
        seq = min(left, key=lambda seq: (-left[seq][1], turns[left[seq][0][0]], turns[left[seq][0]], seq))
        key, _ = left.pop(seq)
        turns[key] = turns[key[0]] = max(turns.values(), default=0) + 1
        order.append(seq)
    return order


def of_accounts(history: dict[str, int]) -> dict[str, int]:
    """An account had its last turn when one of its keys had."""
    return {name: max((turn for key, turn in history.items() if key[0] == name), default=0) for name in "abc"}


def waiting(queue: list[tuple[str, int]]) -> dict[int, dict[str, list[int]]]:
    groups: dict[int, dict[str, list[int]]] = {}
    for seq, (key, priority) in enumerate(queue, start=1):
        groups.setdefault(priority, {}).setdefault(key, []).append(seq)
    return groups


@given(queues, histories)
def test_the_order_is_the_one_of_claims(queue: list[tuple[str, int]], history: dict[str, int]) -> None:
    turns = dict.fromkeys((*KEYS, *"abc"), 0) | history | of_accounts(history)
    found = claim_order(
        waiting(queue), {key: key[0] for key in KEYS}, {who: (0, 0, turn) for who, turn in turns.items()}
    )
    assert found == claimed_in_order(queue, history)
