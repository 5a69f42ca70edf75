"""Requests that belong to no job: under the policy that all share, and told in the log alone."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from chunkup.link import Workshop
from chunkup.listener import log
from chunkup.retry import Retry

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Errand:
    """A way to carry out requests that may be sent again."""

    shop: Workshop

    async def __call__(self, request: Callable[[], Awaitable[_Result]]) -> _Result:
        """The request's result, or its last error."""
        return await self.shop.policy.persist(
            request, wait_limit=lambda: self.shop.options.wait_limit, on_retry=tell_retry
        )


def tell_retry(retry: Retry) -> None:
    """Say in the log that a request will be sent again."""
    log.warning("retrying in %.1f s: %s %s", retry.wait, retry.error.code, retry.error.message)
