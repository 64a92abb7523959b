"""What is not to be collected."""

# collecting doctests imports modules under their names: the stand-ins would pass for the packages everywhere
collect_ignore = ["stubs"]
