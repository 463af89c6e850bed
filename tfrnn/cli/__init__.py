"""The command line: flags made from settings, help pages, and one way to run a command.

In come sections of settings and `sys.argv`; out come the values that were given, lines for the person at the terminal,
and for a user's error one line on stderr with exit status 2. Nothing here imports TensorFlow.
"""
