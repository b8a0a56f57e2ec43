"""The commands that people run, one module each: arguments, output and exit codes over the other packages."""
