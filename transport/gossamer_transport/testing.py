"""The conformance suite of `network.Network`: what every implementation must do.

Subclass `NetworkConformance` in a test module, say how to open networks, and pytest collects the
rest. The links that the factory gives must be quiet: no loss, no duplication. Implementations on
real sockets override `run` and `settle_s`.

    class TestMemory(NetworkConformance):
        @asynccontextmanager
        async def networks(self, count): ...
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import ClassVar

import trio
import trio.testing

from gossamer_transport.errors import NetworkError, Unreachable
from gossamer_transport.network import Network, Received


class NetworkConformance:
    """Tests over `networks`, a factory of linked networks of one implementation."""

    frame_bytes_max: ClassVar[int]  # the size cap of the networks under test
    queue_frames_max: ClassVar[int]  # the bound of their receive queues
    settle_s: ClassVar[float] = 1.0  # after this time a frame has arrived or never will
    timeout_s: ClassVar[float] = 30.0

    @abstractmethod
    def networks(self, count: int) -> AbstractAsyncContextManager[Sequence[Network]]:
        """Open `count` networks, each linked to all others, and close them afterwards."""

    def run(self, scenario: Callable[[], Awaitable[None]]) -> None:
        """Run `scenario` in trio on a clock that jumps over every wait."""
        trio.run(scenario, clock=trio.testing.MockClock(autojump_threshold=0))

    def _run(self, count: int, scenario: Callable[[Sequence[Network]], Awaitable[None]]) -> None:
        async def main() -> None:
            with trio.fail_after(self.timeout_s):
                async with self.networks(count) as networks:
                    await scenario(networks)

        self.run(main)

    async def _drain(self, network: Network) -> list[Received]:
        """Return what arrives at `network` until it has been quiet for `settle_s`."""
        received: list[Received] = []
        while True:
            with trio.move_on_after(self.settle_s):
                received.append(await network.receive())
                continue
            return received

    def test_peers_are_sorted_and_without_the_own_one(self) -> None:
        async def scenario(networks: Sequence[Network]) -> None:
            everyone = sorted(network.peer_id for network in networks)
            for network in networks:
                others = tuple(peer for peer in everyone if peer != network.peer_id)
                assert network.peers() == others

        self._run(4, scenario)

    def test_a_frame_arrives_unaltered_with_its_sender(self) -> None:
        async def scenario(networks: Sequence[Network]) -> None:
            alice, bob, carol = networks
            frame = bytes(range(256)) * 4
            await alice.send(bob.peer_id, frame)
            assert await self._drain(bob) == [Received(alice.peer_id, frame)]
            assert await self._drain(carol) == []
            assert await self._drain(alice) == []

        self._run(3, scenario)

    def test_frames_of_the_smallest_and_the_largest_size_arrive(self) -> None:
        async def scenario(networks: Sequence[Network]) -> None:
            alice, bob = networks
            for frame in (b"", b"\0", b"\xff" * self.frame_bytes_max):
                await alice.send(bob.peer_id, frame)
                assert await self._drain(bob) == [Received(alice.peer_id, frame)]

        self._run(2, scenario)

    def test_a_frame_above_the_cap_is_not_sent(self) -> None:
        async def scenario(networks: Sequence[Network]) -> None:
            alice, bob = networks
            too_large = b"\xff" * (self.frame_bytes_max + 1)
            await _refused(NetworkError, alice.send(bob.peer_id, too_large))
            await _refused(NetworkError, alice.publish(too_large))
            assert await self._drain(bob) == []

        self._run(2, scenario)

    def test_publish_reaches_all_but_the_sender(self) -> None:
        async def scenario(networks: Sequence[Network]) -> None:
            await networks[0].publish(b"control")
            for network in networks[1:]:
                assert await self._drain(network) == [Received(networks[0].peer_id, b"control")]
            assert await self._drain(networks[0]) == []

        self._run(4, scenario)

    def test_both_directions_at_once(self) -> None:
        async def scenario(networks: Sequence[Network]) -> None:
            alice, bob = networks
            count = min(20, self.queue_frames_max)
            frames = [bytes([number]) * 100 for number in range(count)]

            async def send_all(sender: Network, receiver: Network) -> None:
                for frame in frames:
                    await sender.send(receiver.peer_id, frame)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(send_all, alice, bob)
                nursery.start_soon(send_all, bob, alice)
            for sender, receiver in ((alice, bob), (bob, alice)):
                received = await self._drain(receiver)
                assert {item.peer for item in received} == {sender.peer_id}
                assert sorted(item.frame for item in received) == frames

        self._run(2, scenario)

    def test_sending_without_a_link_is_unreachable(self) -> None:
        async def scenario(networks: Sequence[Network]) -> None:
            alice, bob = networks
            await _refused(Unreachable, alice.send(alice.peer_id, b"to myself"))
            gone = bob.peer_id
            await bob.aclose()
            await trio.sleep(self.settle_s)
            assert alice.peers() == ()
            await _refused(Unreachable, alice.send(gone, b"anybody there?"))
            await alice.publish(b"to nobody")

        self._run(2, scenario)

    def test_disconnect_cuts_both_directions_and_spares_the_others(self) -> None:
        async def scenario(networks: Sequence[Network]) -> None:
            alice, bob, carol = networks
            await bob.send(alice.peer_id, b"still unread")
            await alice.disconnect(bob.peer_id)
            await alice.disconnect(bob.peer_id)
            await trio.sleep(self.settle_s)
            assert alice.peers() == (carol.peer_id,)
            assert bob.peers() == (carol.peer_id,)
            await _refused(Unreachable, alice.send(bob.peer_id, b"x"))
            await _refused(Unreachable, bob.send(alice.peer_id, b"x"))
            await bob.publish(b"to all")
            assert await self._drain(alice) == []
            assert await self._drain(carol) == [Received(bob.peer_id, b"to all")]

        self._run(3, scenario)

    def test_a_full_queue_drops_the_oldest(self) -> None:
        async def scenario(networks: Sequence[Network]) -> None:
            alice, bob = networks
            frames = [number.to_bytes(4, "big") for number in range(self.queue_frames_max + 5)]
            for frame in frames:
                await alice.send(bob.peer_id, frame)
                # Pacing keeps the order, so that "oldest" means the same everywhere.
                await trio.sleep(self.settle_s / 100)
            received = [item.frame for item in await self._drain(bob)]
            assert len(received) <= self.queue_frames_max
            assert received == frames[-len(received) :]

        self._run(2, scenario)

    def test_a_waiting_receive_wakes_up(self) -> None:
        async def scenario(networks: Sequence[Network]) -> None:
            alice, bob = networks
            received: list[Received] = []

            async def wait() -> None:
                received.append(await bob.receive())

            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                await trio.sleep(self.settle_s)
                await alice.send(bob.peer_id, b"good morning")
            assert received == [Received(alice.peer_id, b"good morning")]

        self._run(2, scenario)

    def test_a_cancelled_receive_loses_nothing(self) -> None:
        async def scenario(networks: Sequence[Network]) -> None:
            alice, bob = networks
            with trio.move_on_after(self.settle_s) as scope:
                await bob.receive()
            assert scope.cancelled_caught
            await alice.send(bob.peer_id, b"later")
            await trio.sleep(self.settle_s)
            with trio.CancelScope() as scope:
                scope.cancel()
                await bob.receive()
            assert scope.cancelled_caught
            assert await self._drain(bob) == [Received(alice.peer_id, b"later")]

        self._run(2, scenario)

    def test_closing_wakes_a_waiting_receive(self) -> None:
        async def scenario(networks: Sequence[Network]) -> None:
            async def wait() -> None:
                await _refused(NetworkError, networks[0].receive())

            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                await trio.sleep(self.settle_s)
                await networks[0].aclose()

        self._run(1, scenario)

    def test_a_closed_network_refuses_everything_and_closes_again(self) -> None:
        async def scenario(networks: Sequence[Network]) -> None:
            alice, bob = networks
            async with alice:
                pass
            await alice.aclose()
            await _refused(NetworkError, alice.send(bob.peer_id, b"x"))
            await _refused(NetworkError, alice.publish(b"x"))
            await _refused(NetworkError, alice.receive())
            await _refused(NetworkError, alice.disconnect(bob.peer_id))
            try:
                alice.peers()
            except NetworkError:
                return
            raise AssertionError("a closed network has no peers")

        self._run(2, scenario)

    def test_every_async_method_is_a_checkpoint(self) -> None:
        async def scenario(networks: Sequence[Network]) -> None:
            alice, bob = networks
            await alice.send(bob.peer_id, b"x")
            await trio.sleep(self.settle_s)
            with trio.testing.assert_checkpoints():
                await bob.receive()
            with trio.testing.assert_checkpoints():
                await alice.send(bob.peer_id, b"x")
            with trio.testing.assert_checkpoints():
                await alice.publish(b"x")
            with trio.testing.assert_checkpoints():
                await alice.disconnect(bob.peer_id)
            with trio.testing.assert_checkpoints():
                await alice.aclose()

        self._run(2, scenario)


async def _refused(kind: type[NetworkError], call: Awaitable[object]) -> None:
    try:
        await call
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was not raised")
