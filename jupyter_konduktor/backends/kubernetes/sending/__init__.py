"""From a task to a job on the cluster: what is checked, what is made, and what travels."""
