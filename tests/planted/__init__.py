"""A repository of more than 500 files with known defects, made anew wherever it is wanted; same seed, same commits.

Owns: what is planted, and what a scan must say of it. Reads: nothing. Never: holds a credential; the ones that it
plants are made at run time, and so are the advisories, which are about packages that do not exist.
"""
