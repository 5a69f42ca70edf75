"""The embedded server for tests: in a thread of its own, its clock and its faults in hand.

    with chunkup.testing.serve(folder) as server:
        server.fault("part", nth=3, drop_answer=True)
        ...  # whatever uploads to server.base_url with server.api_key
        assert server.files[file_id].read() == content

Under pytest the fixture ``chunkup_server`` is the same, with the environment set.
"""

from chunkup.server.aim import ArmedFault, Strike
from chunkup.server.faults import Fault
from chunkup.testing.serving import FaultNeverFired, Server, serve
from chunkup.testing.views import Request, ServedFile, ServedPart, ServedUpload

__all__ = [
    "ArmedFault",
    "Fault",
    "FaultNeverFired",
    "Request",
    "ServedFile",
    "ServedPart",
    "ServedUpload",
    "Server",
    "Strike",
    "serve",
]
