"""An embedded server that speaks the OpenAI Uploads and Files APIs.

It judges the client: it imports nothing of the rest of the package, keeps everything it
acknowledged on disk, and refuses what the official API refuses. Import the pieces from
`chunkup.server.store` and `chunkup.server.app`; this module stays empty because the second
one costs the import of aiohttp.
"""
