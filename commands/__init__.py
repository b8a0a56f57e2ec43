"""What people run by hand, one module a command: arguments, output and exit codes over the other packages."""
