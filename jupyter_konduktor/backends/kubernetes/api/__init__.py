"""The way to the cluster's API: where it is, who one is there, requests, and watches."""
