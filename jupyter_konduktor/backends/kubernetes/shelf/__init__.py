"""What is kept on this machine's disk of each job."""
