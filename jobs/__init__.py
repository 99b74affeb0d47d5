"""What runs on a cluster: one short script a job, which calls the library and has no logic of its own."""
