"""Measurements: of one thing beside others that do the same, in turns and in one run; and of memory under a load.

Owns: what is measured, how it is judged and told, the instance that is made for it. Reads: limits in
catalog/objectives.yml. Never: changes what it measures, judges a run in which something changed, or leaves an instance.
"""
