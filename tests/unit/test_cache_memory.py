"""The memory tier is an LRU by bytes, and nothing more."""

import random

from tts_service.cache import MemoryTier


def test_it_is_an_ideal_lru() -> None:
    """Against a list of keys in the order of use, on which everything is counted anew."""
    chance = random.Random(1)
    tier: MemoryTier[int] = MemoryTier(1000)
    values: dict[str, tuple[int, int]] = {}
    order: list[str] = []
    gone = 0
    for number in range(20_000):
        key = f"key {chance.randrange(60)}"
        action = chance.random()
        if action < 0.5:
            expected = values.get(key)
            assert tier.get(key) == (None if expected is None else expected[0])
            if key in values:
                order.remove(key)
                order.append(key)
        elif action < 0.95:
            size = chance.choice([0, 1, chance.randint(1, 120), 999, 1000, 1001])
            tier.put(key, number, size)
            if values.pop(key, None) is not None:
                order.remove(key)
            if size <= 1000:
                values[key] = number, size
                order.append(key)
            while sum(size for _, size in values.values()) > 1000:
                del values[order.pop(0)]
                gone += 1
        elif action < 0.999:
            tier.drop([key, "unknown"])
            if values.pop(key, None) is not None:
                order.remove(key)
        else:
            tier.clear()
            values.clear()
            order.clear()
        assert len(tier) == len(values)
        assert tier.size_bytes == sum(size for _, size in values.values())
    assert gone > 1000
    assert {key: tier.get(key) for key in order} == {key: values[key][0] for key in order}


def test_one_value_above_the_limit_drives_nothing_out_but_its_predecessor() -> None:
    tier: MemoryTier[str] = MemoryTier(10)
    tier.put("a", "small", 4)
    tier.put("b", "small", 4)
    tier.put("a", "large", 11)
    assert (tier.get("a"), tier.get("b"), tier.size_bytes) == (None, "small", 4)


def test_without_room_nothing_is_kept() -> None:
    tier: MemoryTier[str] = MemoryTier(0)
    tier.put("a", "value", 1)
    assert tier.get("a") is None
    assert (len(tier), tier.size_bytes) == (0, 0)
