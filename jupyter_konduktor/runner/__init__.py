"""What runs inside a job: standard library only, on any Python from 3.8 on."""
