"""A queue of jobs on this machine.

No daemon runs. Jobs are rows of a SQLite database (`store`) and a directory each; every running job is owned by a
detached process of its own (`supervisor`). Whoever frees resources, or adds a job, admits what fits (`admission`) under
the database's write lock and starts its supervisor (`spawn`). Watchers are rung through FIFOs (`bell`, `watch`). A
supervisor that died is found by whoever looks next (`reconcile`).

The modules that a supervisor imports (`store`, `admission`, `process`, `bell`, `spawn`, `layout`) stay free of
everything that is slow to import: a job that does nothing should cost one interpreter start and not two.
"""
