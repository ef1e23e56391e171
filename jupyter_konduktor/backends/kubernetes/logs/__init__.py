"""What a job's pods write, on its way to this machine's disk, every byte once."""
