"""Compile every kernel of a worker into NUMBA_CACHE_DIR, so that it starts in seconds and not in minutes.

Run while an image is built. Kernels are for the kind of processor that compiled them: on another one, the first start
compiles them again.
"""

from __future__ import annotations

import asyncio

from stream_app.app import build
from stream_app.settings import Settings

# Refits run in processes of their own, which import this file anew.
if __name__ == "__main__":
    # Nothing listens here, so nothing needs the token that a worker in a container needs.
    asyncio.run(build(Settings(web_host="127.0.0.1")).processor.rehearse())
