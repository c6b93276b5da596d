"""What domains share: the task contract, errors that speak to a person, and file safety."""
