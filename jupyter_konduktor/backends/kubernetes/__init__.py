"""Jobs as JobSets on a Kubernetes cluster, queued by Kueue.

Only `kubeconfig` imports the `kubernetes` package, and only for configuration, authentication and transport: objects of
the cluster are plain JSON everywhere else.
"""
