"""The command line: flags made from settings, help pages, messages and error handling.

Input: sections of settings and `sys.argv`. Output: the values of the flags that were given, messages on stderr, and for
a user's error one line on stderr and exit status 2 (`program`). `flags` and `help_page` make flags and help pages from
the fields of `tfrnn.config`. Nothing here imports TensorFlow.
"""
