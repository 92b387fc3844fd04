"""The scan core: several scanners over one tree, one result. Used by `invoke scan` and by heimdall.

Owns: catalog/scanners.yml, how a scanner is run, read and judged. Reads: the tree it is given, never through a link.
Never: changes that tree, talks to a network, lets a scanner that failed pass for one that found nothing.
"""
