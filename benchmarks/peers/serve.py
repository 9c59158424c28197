"""Serve a peer with the options of `groundwork serve`: `python serve.py MODULE PORT`."""

import importlib
import sys

import uvicorn

uvicorn.run(
    importlib.import_module(sys.argv[1]).app,
    host="127.0.0.1",
    port=int(sys.argv[2]),
    loop="uvloop",
    http="httptools",
    ws="none",
    lifespan="on",
    log_level="warning",
    access_log=False,
    server_header=False,
)
