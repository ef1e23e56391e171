"""Where a job stands, from what the cluster shows of it: pure functions of its objects."""
