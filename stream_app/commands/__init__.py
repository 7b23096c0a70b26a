"""The commands of `tsrec`, one module each; every module exports `command`."""
