"""Where what is too large for a cluster's API is kept: a bucket or a shared folder, its objects named by their bytes.

    objects/<aa>/<sha256>      what jobs are sent: each once, however many of them need it
    leases/<nonce>             which of those a job needs, as JSON; younger than any URL that it was given
    checkpoints/<uid>/...      what its attempts share (`jupyter_konduktor.runner.slots`)
    results/<uid>/...          what a job has left (`jupyter_konduktor.runner.parcel`), by the uid of its JobSet

All of it stands below the prefix that the setting ``store`` names. Nothing here is imported unless one is set.
"""
