"""When an engine's next worker is waited for, and for how long."""

from tts_service.fleet.breaker import Breaker


def _within(breaker: Breaker, nominal_s: float) -> bool:
    return all(0.8 * nominal_s <= breaker.backoff_s() <= 1.2 * nominal_s for _ in range(50))


def test_it_opens_at_the_limit_and_waits_longer_from_then_on() -> None:
    breaker = Breaker(failure_limit=6, retry_s=30.0)
    assert _within(breaker, 0.2)
    for nominal_s in (0.2, 0.4, 0.8, 1.6, 3.0):
        breaker.failed()
        assert not breaker.is_open
        assert _within(breaker, nominal_s)
    breaker.failed()
    assert breaker.is_open
    assert _within(breaker, 30.0)


def test_a_worker_that_serves_for_a_while_closes_it_and_a_short_life_does_not() -> None:
    breaker = Breaker(failure_limit=2, retry_s=30.0)
    breaker.failed()
    breaker.failed()
    breaker.served(59.0)
    assert breaker.is_open
    breaker.served(60.0)
    assert not breaker.is_open
    assert breaker.failures == 0


def test_one_failure_of_a_worker_on_probation_is_enough() -> None:
    breaker = Breaker(failure_limit=3, retry_s=30.0)
    for _ in range(3):
        breaker.failed()
    breaker.served(10.0)
    breaker.failed()
    assert breaker.is_open


def test_a_hopeless_failure_opens_it_at_once() -> None:
    breaker = Breaker(failure_limit=5, retry_s=30.0)
    breaker.trip()
    assert breaker.is_open
    breaker.trip()
    assert breaker.failures == 6
