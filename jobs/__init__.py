"""What runs on a cluster: a command of Visage as a job, which calls the library and has no logic of its own."""
