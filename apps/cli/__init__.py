"""The command line: a command is a module with `main(arguments) -> exit status`, imported when called."""
