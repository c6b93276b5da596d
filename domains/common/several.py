"""Several results of one request (`--count`): each has a seed of its own, so that it can be made alone again."""

from __future__ import annotations

from hashlib import blake2b
from typing import TypeVar

from domains.common.task import Request

AnyRequest = TypeVar("AnyRequest", bound=Request)


def result_seed(seed: int, index: int) -> int:
    """The seed of result `index` of a request with `seed`; that of result 0 is `seed` itself.

    Seeds are addressed, as noise is (`core.noise`), not counted upwards: results of requests with seeds 0 and 1 have
    nothing in common, and result 7 is the same whether 8 are asked for or 1000, and on whichever machine it is made.

    >>> result_seed(5, 0), result_seed(5, 1) != result_seed(6, 0)
    (5, True)
    """
    if index == 0:
        return seed
    digest = blake2b(repr((seed, "result", index)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def result_request(request: AnyRequest, index: int) -> AnyRequest:
    """The request that makes result `index` of `request` alone."""
    seed = result_seed(request.sampling.seed, index)
    return request.model_copy(update={"sampling": request.sampling.model_copy(update={"seed": seed})})
