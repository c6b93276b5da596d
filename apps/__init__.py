"""What people touch: the command line, the engine that runs tasks, and the studio in the browser."""
